"""Frames that cannot be used: all of them, where preparing the data would stop at the first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from e3frame.data.pipeline.prepare import Chunk, Recipe, prepared
from e3frame.preflight.findings import Finding
from e3frame.spec.errors import DataError

NAMED = 4
"""Frames of a kind of mistake that are named."""


class Survey(NamedTuple):
    """The sound frames of some files, and what is wrong with the others."""

    sound: list[Chunk]
    broken: list[DataError]
    files: list[str]

    def findings(self) -> list[Finding]:
        """One for each kind of mistake: how many frames, and the first of them."""
        kinds: dict[str, list[DataError]] = {}
        for error in self.broken:
            kinds.setdefault(_kind(error), []).append(error)
        total = sum(len(chunk.counts["z"]) for chunk in self.sound) + len(self.broken)
        return [
            Finding("broken frames", "error", f"{len(errors)} of {total}: {_told(errors)}", errors[0].hint)
            for errors in kinds.values()
        ]


def survey(recipes: Iterable[Recipe], processes: int | None = None) -> Survey:
    """Every frame of some recipes.

    Raises:
        DataError: a file that cannot be read at all.
    """
    found = Survey([], [], [])
    for recipe in recipes:
        for chunk in prepared(replace(recipe, tolerant=True), processes):
            found.broken.extend(chunk.broken)
            if chunk.values:
                chunk.values["file"] += len(found.files)
                found.sound.append(chunk)
        found.files.extend(recipe.files)
    return found


def _kind(error: DataError) -> str:
    """The problem without what differs from frame to frame."""
    return re.sub(r"\[.*\]|\([A-Z][a-z]?\)|[-+]?\b\d[\d.]*(e[-+]?\d+)?|\bnan\b|\binf\b", "*", error.problem)


def _told(errors: Sequence[DataError]) -> str:
    file = errors[0].file
    frames = [error.frame for error in errors if error.file == file][:NAMED]
    more = ", ..." if len(frames) < len(errors) else ""
    where = f"frame{'s' if len(frames) > 1 else ''} {', '.join(map(str, frames))}{more} of {Path(str(file)).name}"
    return f"{errors[0].problem} ({where})"

"""Frames that cannot be used: all of them, where preparing the data would stop at the first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from e3frame.data.graphs import Graph
from e3frame.data.preflight.findings import Finding
from e3frame.data.prepare import Piece, Recipe
from e3frame.spec.errors import DataError

NAMED = 4
"""Frames of a kind of mistake that are named."""


class Survey(NamedTuple):
    """The sound frames of some files, and what is wrong with the others."""

    sound: list[Graph]
    broken: list[DataError]
    files: list[str]

    def findings(self) -> list[Finding]:
        """One for each kind of mistake: how many frames, and the first of them."""
        kinds: dict[str, list[DataError]] = {}
        for error in self.broken:
            kinds.setdefault(_kind(error), []).append(error)
        total = len(self.sound) + len(self.broken)
        return [
            Finding("broken frames", "error", f"{len(errors)} of {total}: {_told(errors)}", errors[0].hint)
            for errors in kinds.values()
        ]


def survey(recipes: Iterable[Recipe]) -> Survey:
    """Every frame of some recipes.

    Raises:
        DataError: a file that cannot be read at all.
    """
    found = Survey([], [], [])
    for recipe in recipes:
        for frame in chain.from_iterable(_attempts(recipe, piece) for piece in recipe.pieces()):
            if isinstance(frame, DataError):
                found.broken.append(frame)
            else:
                frame.file = frame.file + len(found.files)
                found.sound.append(frame)
        found.files.extend(recipe.files)
    return found


def _attempts(recipe: Recipe, piece: Piece) -> Iterator[Graph | DataError]:
    """The graph of each frame, or what is wrong with it."""
    file, left = recipe.files[piece.file], piece.frames
    while left is None or len(left):
        reader = recipe.reader.read(file, left)
        try:
            for frame, atoms in reader:
                try:
                    yield recipe.graph(atoms, frame, piece.file)
                except DataError as error:
                    yield error
            return
        except DataError as error:  # which ends the reader: it is asked again for what comes later
            if error.frame is None:
                raise
            yield error
            if left is None:
                return
            left = [frame for frame in left if frame > error.frame]


def _kind(error: DataError) -> str:
    """The problem without what differs from frame to frame."""
    return re.sub(r"\[.*\]|\([A-Z][a-z]?\)|[-+]?\b\d[\d.]*(e[-+]?\d+)?|\bnan\b|\binf\b", "*", error.problem)


def _told(errors: Sequence[DataError]) -> str:
    file = errors[0].file
    frames = [error.frame for error in errors if error.file == file][:NAMED]
    more = ", ..." if len(frames) < len(errors) else ""
    where = f"frame{'s' if len(frames) > 1 else ''} {', '.join(map(str, frames))}{more} of {Path(str(file)).name}"
    return f"{errors[0].problem} ({where})"

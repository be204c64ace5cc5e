"""Checks for broken frames, missing neighbours and zero forces."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from e3frame.data.pipeline.frameset import FrameSet
from e3frame.data.pipeline.loader import Survey
from e3frame.data.pipeline.statistics import APART, BY_SYMMETRY, VANISHING, force_scale
from e3frame.preflight.findings import Finding
from e3frame.spec.errors import DataError

NAMED = 4
"""Number of frames that are listed per kind of error."""


def broken_frames(found: Survey) -> list[Finding]:
    """Return one finding for each kind of error: the number of frames, and the first of them."""
    kinds: dict[str, list[DataError]] = {}
    for error in found.broken:
        kinds.setdefault(_kind(error), []).append(error)
    total = sum(len(chunk.counts["z"]) for chunk in found.sound) + len(found.broken)
    return [
        Finding("broken frames", "error", f"{len(errors)} of {total}: {_summary(errors)}", errors[0].hint)
        for errors in kinds.values()
    ]


def _kind(error: DataError) -> str:
    """Return the problem with numbers and elements replaced, to group equal errors."""
    return re.sub(r"\[.*\]|\([A-Z][a-z]?\)|[-+]?\b\d[\d.]*(e[-+]?\d+)?|\bnan\b|\binf\b", "*", error.problem)


def _summary(errors: Sequence[DataError]) -> str:
    file = errors[0].file
    frames = [error.frame for error in errors if error.file == file][:NAMED]
    more = ", ..." if len(frames) < len(errors) else ""
    where = f"frame{'s' if len(frames) > 1 else ''} {', '.join(map(str, frames))}{more} of {Path(str(file)).name}"
    return f"{errors[0].problem} ({where})"


def check_neighbors(dataset: FrameSet, allowed: bool) -> list[Finding]:
    """Check that there are neighbours at all."""
    if int(dataset.counts("edge_index").sum()):
        return []
    text = "no atom has a neighbour within r_max"
    if allowed:
        return [Finding("neighbours", "warning", f"{text}: only energies of single atoms can be learned")]
    return [Finding("neighbours", "error", text, APART)]


def vanish(dataset: FrameSet, forces: str) -> bool:
    """Whether all forces are zero up to rounding."""
    size = force_scale(dataset, forces)
    return size is not None and size < VANISHING


def check_vanishing(forces: str, allowed: bool) -> Finding:
    """Return the finding for forces that are all zero."""
    if allowed:
        return Finding(forces, "note", "they are zero in all frames, as data.allow permits")
    return Finding(forces, "error", "they are zero in all training frames", BY_SYMMETRY)

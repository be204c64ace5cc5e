"""Neighbours and forces that are not there: a mistake, unless the user says that they cannot be."""

from __future__ import annotations

from e3frame.data.pipeline.frameset import FrameSet
from e3frame.data.pipeline.statistics import APART, BY_SYMMETRY, VANISHING, force_scale
from e3frame.preflight.findings import Finding


def check_neighbors(dataset: FrameSet, allowed: bool) -> list[Finding]:
    """Whether any atom has a neighbour."""
    if int(dataset.counts("edge_index").sum()):
        return []
    text = "no atom has a neighbour within r_max"
    if allowed:
        return [Finding("neighbours", "warning", f"{text}: only energies of single atoms can be learned")]
    return [Finding("neighbours", "error", text, APART)]


def vanish(dataset: FrameSet, forces: str) -> bool:
    """Whether all forces are zero but for rounding."""
    size = force_scale(dataset, forces)
    return size is not None and size < VANISHING


def check_vanishing(forces: str, allowed: bool) -> Finding:
    """What is said of forces that are all zero."""
    if allowed:
        return Finding(forces, "note", "they are zero in all frames, which data.allow says is right")
    return Finding(forces, "error", "they are zero in all training frames", BY_SYMMETRY)

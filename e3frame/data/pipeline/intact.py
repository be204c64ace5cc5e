"""Checks that cached frames are valid. A matching digest proves nothing about their origin, and an index out of bounds
reads invalid memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from e3frame.data.pipeline.edge_labels import beyond_key
from e3frame.data.pipeline.graphs import Graph
from e3frame.spec.elements import SYMBOLS
from e3frame.spec.limits import LABEL

PER_FRAME = {
    "cell": (torch.float64, (3, 3)),
    "pbc": (torch.bool, (3,)),
    "frame": (torch.int64, ()),
    "file": (torch.int64, ()),
}
PER_ATOM = {"pos": (torch.float64, (3,)), "z": (torch.int64, ())}
EDGES = {"edge_index": (torch.int64, (2,)), "edge_shift": (torch.float64, (3,))}
OPTIONAL = {"edges": (torch.int64, ()), "group": (torch.int64, ())}
"""Optional keys with one entry per frame."""
_FINITE = frozenset(PER_FRAME | PER_ATOM | EDGES)
UNIT = 1e3
"""Upper bound of all units of files, in eV, Å and e."""


def sound(values: Mapping[str, Tensor], counts: Mapping[str, Tensor], files: int) -> bool:
    """Whether the data are valid frames.

    Args:
        values: values of each key, concatenated over all frames.
        counts: number of entries of each key in each frame, (frames,).
        files: number of files in the data set.
    """
    if not _formed({key: about(tensor, key) for key, tensor in values.items()}) or counts.keys() != values.keys():
        return False
    one, atoms, edges = torch.ones_like(counts["frame"]), counts["z"], counts.get("edge_index")
    if not (atoms > 0).all() or not torch.equal(counts["pos"], atoms):
        return False
    if edges is not None and not torch.equal(counts["edge_shift"], edges):
        return False
    patterns = [pattern for pattern in (one, atoms, edges) if pattern is not None]
    for key, count in counts.items():
        expected = [one] if key in PER_FRAME or key in OPTIONAL else patterns
        if not any(torch.equal(count, pattern) for pattern in expected):
            return False
    return _in_bounds(values, atoms, edges, files)


def about(tensor: Tensor, key: str) -> tuple[torch.dtype, tuple[int, ...]]:
    """Return the type and shape of a key's entries."""
    shape = list(tensor.shape)
    if shape:
        shape.pop(Graph().__cat_dim__(key, None) if len(shape) > 1 else 0)
    return tensor.dtype, tuple(shape)


def _formed(kinds: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]) -> bool:
    """Whether all required keys exist and have the right types; labels may have any shape."""
    known: dict[str, Any] = PER_FRAME | PER_ATOM | (EDGES if "edge_index" in kinds else {"edges": OPTIONAL["edges"]})
    if not known.keys() <= kinds.keys():
        return False
    known = known | OPTIONAL | {beyond_key(key): OPTIONAL["edges"] for key in kinds if beyond_key(key) in kinds}
    return all(kind == known[key] if key in known else kind[0] == torch.float64 for key, kind in kinds.items())


def plausible(key: str, value: Tensor) -> bool:
    """Whether a key can have this value; a missing label is NaN."""
    if key == "z":
        return bool(((value > 0) & (value < len(SYMBOLS))).all())
    if value.dtype != torch.float64:
        return key == "group" or bool((value >= 0).all())  # the number of a group is a hash, which may be negative
    if key in _FINITE:
        return bool(value.isfinite().all())
    return bool((value.isnan() | (value.abs() <= LABEL * UNIT)).all())


def _in_bounds(values: Mapping[str, Tensor], atoms: Tensor, edges: Tensor | None, files: int) -> bool:
    good = all(plausible(key, value) for key, value in values.items()) and bool((values["file"] < files).all())
    return good and (edges is None or bool((values["edge_index"] < torch.repeat_interleave(atoms, edges)).all()))

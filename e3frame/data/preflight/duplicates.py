"""Frames that are in two splits, or twice in one: what is tested has then been trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from e3frame.data.dataset import GraphDataset, Splits
from e3frame.data.frameset import FrameSet
from e3frame.data.graphs import Graph
from e3frame.data.preflight.findings import Finding

NEAR = 0.01
"""Å: root mean square difference of the sorted interatomic distances, below which frames are nearly identical."""
SAME = 1e-4
"""Å: below which they are identical, apart from rounding, turning and shifting."""
CANDIDATES = 24
"""Most similar frames, by their keys, that are compared distance by distance."""
PIECE = 1_000_000
"""Edges of the frames whose keys are computed in one go."""
WIDTHS = np.array([0.7, 1.0, 1.5, 2.0, 2.5, 3.0])
CHECK = "frames in two splits"


class _Keys(NamedTuple):
    """Of ``n`` frames, what turning, shifting and renumbering leave as it is: ``kind`` (n,) of the composition, and
    ``sums`` (n, k) over smooth functions of the interatomic distances."""

    kind: NDArray[np.int64]
    sums: NDArray[np.float64]


class _Twins(NamedTuple):
    """Pairs of frames (n,) and how far they are from each other in Å."""

    frame: NDArray[np.int64]
    other: NDArray[np.int64]
    distance: NDArray[np.float64]


def check_duplicates(splits: Splits) -> list[Finding]:
    """Whether a frame of one split is, turned or not, in another one too, or nearly so; and copies within training.

    All frames are compared, in O(n log n): those of a composition whose keys are nearest, in a k-d tree, and of these
    all sorted interatomic distances.
    """
    names = [name for name, _ in splits.items()]
    sets = dict(splits.items())
    r_max = _longest(splits.train)
    keys = {name: _keys(dataset, r_max) for name, dataset in sets.items()}
    found = []
    for k, name in enumerate(names):
        for first in names[:k]:
            twins = _twins(keys[name], keys[first], sets[name], sets[first])
            if len(twins.frame):
                found.append(_told(twins, name, first, sets))
    inside = _twins(keys["train"], keys["train"], splits.train, splits.train, SAME)
    if len(inside.frame):
        where = _places(inside, splits.train, splits.train)
        text = f"{len(inside.frame)} of {len(splits.train)} training frames are there more than once: {where}"
        found.append(Finding("frames that repeat", "warning", text, "take copies out: they count twice in the loss"))
    if not any(finding.check == CHECK for finding in found) and len(sets) > 1:
        found.append(Finding(CHECK, "ok", "none"))
    return found


def _told(twins: _Twins, name: str, first: str, sets: dict[str, FrameSet]) -> Finding:
    number, same = len(np.unique(twins.frame)), int((twins.distance < SAME).sum())
    kind = f"{same} identical, {number - same} nearly identical"
    into = "training" if first == "train" else first
    text = f"{number} of {len(sets[name])} {name} frames are in {into} too ({kind}): "
    hint = "split by time, or by a key: data.split.method=group"
    return Finding(CHECK, "warning", text + _places(twins, sets[name], sets[first]), hint)


def _places(twins: _Twins, one: FrameSet, other: FrameSet) -> str:
    best = int(twins.distance.argmin())
    (file, frame), (other_file, twin) = one.where(int(twins.frame[best])), other.where(int(twins.other[best]))
    return f"frame {frame} of {file} is frame {twin} of {other_file}"


def _longest(dataset: FrameSet) -> float:
    """Where the sums end smoothly, so that an edge at the cutoff does not matter."""
    return float(_lengths(next(_pieces(dataset)))[0].max(initial=0.1))


def _keys(dataset: FrameSet, r_max: float) -> _Keys:
    kinds, sums = zip(*(_keys_of(piece, r_max) for piece in _pieces(dataset)), strict=True)
    return _Keys(np.concatenate(kinds), np.concatenate(sums))


def _pieces(dataset: FrameSet) -> Iterator[FrameSet]:
    edges = dataset.counts("edge_index").numpy()
    number = (edges.cumsum() - edges) // PIECE
    for frames in np.split(np.arange(len(dataset)), np.flatnonzero(np.diff(number)) + 1):
        piece = dataset[frames.tolist()]
        # Frames that hold no edges find them when they are read.
        yield piece if dataset.has("edge_index") else GraphDataset.from_graphs(list(piece))


def _lengths(piece: FrameSet) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Of all edges, with the numbers of their atoms in the piece."""
    atoms, edges = piece.counts("z").numpy(), piece.counts("edge_index").numpy()
    # Edges count the atoms of their own frame.
    j, i = piece.stacked("edge_index").numpy() + np.repeat(np.cumsum(atoms) - atoms, edges)
    pos = piece.stacked("pos").numpy()
    return np.linalg.norm(pos[j] + piece.stacked("edge_shift").numpy() - pos[i], axis=1), i, j


def _keys_of(piece: FrameSet, r_max: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    atoms, edges, z = piece.counts("z").numpy(), piece.counts("edge_index").numpy(), piece.stacked("z").numpy()
    frame = np.repeat(np.arange(len(piece)), edges)
    r, i, j = _lengths(piece)
    weight = np.sqrt(z[i] * z[j]) / atoms[frame] * np.square(np.clip(1 - np.square(r / r_max), 0, None))
    shape = [np.bincount(frame, weight * np.exp(-np.square(r / width)), len(piece)) for width in WIDTHS]
    # An element is a random number of 60 bits, so that the sum over the atoms tells the composition.
    code = np.random.default_rng(0).integers(2**60, size=128)
    kind = np.zeros(len(piece), np.int64)
    np.add.at(kind, np.repeat(np.arange(len(piece)), atoms), code[z])
    return kind, np.stack(shape, 1)


def _twins(mine: _Keys, theirs: _Keys, one: FrameSet, other: FrameSet, near: float = NEAR) -> _Twins:
    """Frames of ``one`` that are in ``other``, each with the most similar one; within one set, apart from itself."""
    within = one is other
    rows: list[tuple[int, int, float]] = []
    for kind in np.intersect1d(mine.kind, theirs.kind):
        a, b = np.flatnonzero(mine.kind == kind), np.flatnonzero(theirs.kind == kind)
        # The logarithm of a key changes by about as much as the distances (in Å) that it sums over.
        reach = near * np.abs(theirs.sums[b]).max() + 1e-9
        tree = cKDTree(theirs.sums[b])
        count = min(CANDIDATES + within, len(b))
        distance, place = tree.query(mine.sums[a], k=range(1, count + 1), distance_upper_bound=reach)
        for k, near_ones in zip(a, np.where(np.isfinite(distance), place, -1), strict=True):
            chosen = [int(b[p]) for p in near_ones if p >= 0 and not (within and b[p] == k)]
            graph = one[int(k)] if chosen else None
            found = [(_difference(graph, other[t]), t) for t in chosen]
            if found and min(found)[0] < near:
                rows.append((int(k), min(found)[1], min(found)[0]))
    frame, twin, distance = zip(*rows, strict=True) if rows else ((), (), ())
    return _Twins(np.array(frame, int), np.array(twin, int), np.array(distance, float))


def _distances(graph: Graph) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pair of elements and length of each edge, sorted."""
    j, i = graph.edge_index
    r = (graph.pos[j] + graph.edge_shift - graph.pos[i]).norm(dim=1).numpy()
    pair = (torch.minimum(graph.z[i], graph.z[j]) * 1000 + torch.maximum(graph.z[i], graph.z[j])).numpy()
    order = np.lexsort((r, pair))
    return pair[order], r[order]


def _difference(one: Graph, other: Graph) -> float:
    """Root mean square difference of the sorted distances; those at the cutoff that only one has are left out."""
    (pairs, r), (other_pairs, s) = _distances(one), _distances(other)
    total = number = 0.0
    for pair in np.union1d(pairs, other_pairs):
        a, b = r[pairs == pair], s[other_pairs == pair]
        size = min(len(a), len(b))
        if abs(len(a) - len(b)) > 2 + 0.1 * size:
            return np.inf
        total += float(np.square(a[:size] - b[:size]).sum())
        number += size
    return np.sqrt(total / number) if number else 0.0

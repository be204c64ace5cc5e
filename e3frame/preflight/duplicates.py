"""Duplicate frames, within training or between splits (test frames that were trained on)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from e3frame.data.pipeline.dataset import GraphDataset, Splits
from e3frame.data.pipeline.frameset import FrameSet
from e3frame.preflight.findings import Finding

NEAR = 0.01
"""Root mean square difference of the sorted interatomic distances, in Å, below which frames are nearly identical."""
SAME = 1e-4
"""The same difference, in Å, below which frames are identical up to rounding, rotation and translation."""
CANDIDATES = 24
"""Number of frames with the closest keys whose distances are compared."""
PIECE = 1_000_000
"""Edges of the frames that are processed at a time."""
WIDTHS = np.array([0.7, 1.0, 1.5, 2.0, 2.5, 3.0])
PROBED = 48
"""Number of random pairs of frames of a composition that estimate their typical distance."""
FEWEST = 6
"""Smallest number of frames for that estimate; in a set of fewer frames only identical frames are reported."""
CHANCE = 3.0
"""Factor by which near pairs must outnumber those expected by chance."""
CHECK = "frames in two splits"


class _Keys(NamedTuple):
    """Invariants of ``n`` frames under rotation, translation and renumbering: ``kind`` (n,), a hash of the composition,
    and ``sums`` (n, k) of smooth functions of the interatomic distances."""

    kind: NDArray[np.int64]
    sums: NDArray[np.float64]


class _Twins(NamedTuple):
    """Pairs of frames (n,) and their distance in Å."""

    frame: NDArray[np.int64]
    other: NDArray[np.int64]
    distance: NDArray[np.float64]


def check_duplicates(splits: Splits) -> list[Finding]:
    """Find frames of one split that are also in another one, rotated or nearly equal ones included, and copies within
    training.

    All frames are compared, in O(n log n): a k-d tree finds frames of the same composition with the closest keys, and
    these are compared by all sorted interatomic distances.
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
                found.append(_finding(twins, name, first, sets))
    inside = _twins(keys["train"], keys["train"], splits.train, splits.train, SAME)
    if len(inside.frame):
        where = _places(inside, splits.train, splits.train)
        text = f"{len(inside.frame)} of {len(splits.train)} training frames appear more than once: {where}"
        found.append(Finding("frames that repeat", "warning", text, "remove the copies: they count twice in the loss"))
    if not any(finding.check == CHECK for finding in found) and len(sets) > 1:
        found.append(Finding(CHECK, "ok", "none"))
    return found


def _finding(twins: _Twins, name: str, first: str, sets: dict[str, FrameSet]) -> Finding:
    number, same = len(np.unique(twins.frame)), int((twins.distance < SAME).sum())
    kind = f"{same} identical, {number - same} nearly identical"
    into = "training" if first == "train" else first
    text = f"{number} of {len(sets[name])} {name} frames are also in {into} ({kind}): "
    hint = "split by time, or by a key: data.split.method=group"
    return Finding(CHECK, "warning", text + _places(twins, sets[name], sets[first]), hint)


def _places(twins: _Twins, one: FrameSet, other: FrameSet) -> str:
    best = int(twins.distance.argmin())
    (file, frame), (other_file, twin) = one.where(int(twins.frame[best])), other.where(int(twins.other[best]))
    return f"frame {frame} of {file} equals frame {twin} of {other_file}"


class _Edges(NamedTuple):
    """Edges of a piece: the frame of each edge and its two atoms, numbered within the piece, and its length in Å."""

    frame: NDArray[np.int64]
    i: NDArray[np.int64]
    j: NDArray[np.int64]
    r: NDArray[np.float64]


def _longest(dataset: FrameSet) -> float:
    """Return the distance at which the sums go smoothly to zero, so that an edge at the cutoff does not matter."""
    return float(_edges(next(_pieces(dataset))).r.max(initial=0.1))


def _keys(dataset: FrameSet, r_max: float) -> _Keys:
    kinds, sums = zip(*(_keys_of(piece, r_max) for piece in _pieces(dataset)), strict=True)
    return _Keys(np.concatenate(kinds), np.concatenate(sums))


def _costs(dataset: FrameSet) -> NDArray[np.int64]:
    """Return the memory that each frame needs, in edges (frames,)."""
    if dataset.has("edge_index"):
        return dataset.counts("edge_index").numpy()
    return np.square(dataset.counts("z").numpy())


def _parts(costs: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the indices of the frames that are compared at a time."""
    number = (costs.cumsum() - costs) // PIECE
    return np.split(np.arange(len(costs)), np.flatnonzero(np.diff(number)) + 1)


def _pieces(dataset: FrameSet) -> Iterator[FrameSet]:
    for frames in _parts(_costs(dataset)):
        yield dataset[frames.tolist()]


def _edges(piece: FrameSet) -> _Edges:
    """Return the stored edges of the frames, or compute them within the cutoff."""
    atoms, pos = piece.counts("z").numpy(), piece.stacked("pos").numpy()
    first = np.cumsum(atoms) - atoms  # edges number the atoms within their frame
    if piece.has("edge_index"):
        edges = piece.counts("edge_index").numpy()
        j, i = piece.stacked("edge_index").numpy() + np.repeat(first, edges)
        r = np.linalg.norm(pos[j] + piece.stacked("edge_shift").numpy() - pos[i], axis=1)
        return _Edges(np.repeat(np.arange(len(piece)), edges), i, j, r)
    if piece.stacked("pbc").any():
        return _edges(GraphDataset.from_graphs(list(piece)))
    frame = np.repeat(np.arange(len(piece)), np.square(atoms))
    i = np.repeat(np.arange(len(pos)), np.repeat(atoms, atoms))
    j = _ranges(np.repeat(first, atoms), np.repeat(atoms, atoms))
    r = np.linalg.norm(pos[j] - pos[i], axis=1)
    near = (r < piece.r_max) & (i != j)
    return _Edges(frame[near], i[near], j[near], r[near])


def _ranges(first: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.int64]:
    """Concatenate ranges: ``number`` consecutive integers from each of ``first`` on."""
    return np.arange(number.sum()) + np.repeat(first - np.cumsum(number) + number, number)


def _keys_of(piece: FrameSet, r_max: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    atoms, z = piece.counts("z").numpy(), piece.stacked("z").numpy()
    frame, i, j, r = _edges(piece)
    weight = np.sqrt(z[i] * z[j]) / atoms[frame] * np.square(np.clip(1 - np.square(r / r_max), 0, None))
    shape = [np.bincount(frame, weight * np.exp(-np.square(r / width)), len(piece)) for width in WIDTHS]
    # Each element gets a random number of 60 bits, so that the sum over the atoms identifies the composition.
    code = np.random.default_rng(0).integers(2**60, size=128)
    kind = np.zeros(len(piece), np.int64)
    np.add.at(kind, np.repeat(np.arange(len(piece)), atoms), code[z])
    return kind, np.stack(shape, 1)


def _twins(mine: _Keys, theirs: _Keys, one: FrameSet, other: FrameSet, near: float = NEAR) -> _Twins:
    """Return the frames of ``one`` that are also in ``other``, each with its most similar frame. If both are the same
    set, a frame is not compared with itself."""
    frame, twin = _candidates(mine, theirs, near, one is other)
    costs = _costs(one)[frame] + _costs(other)[twin]
    parts = _parts(costs) if len(frame) else []
    found = [_differences(one, other, frame[part], twin[part]) for part in parts]
    distance = np.concatenate(found) if found else np.zeros(0)
    # No edge between distant fragments shows how far apart they are.
    extent = _extents(one), _extents(other)
    distance = np.maximum(distance, np.abs(extent[0][frame] - extent[1][twin]))
    best = np.lexsort((twin, distance, frame))
    best = best[np.unique(frame[best], return_index=True)[1]]
    best = best[distance[best] < near]
    twins = _Twins(frame[best], twin[best], distance[best])
    return _unexpected(twins, mine.kind, theirs.kind, one, other, near)


def _unexpected(
    twins: _Twins, mine: NDArray[np.int64], theirs: NDArray[np.int64], one: FrameSet, other: FrameSet, near: float
) -> _Twins:
    """Drop pairs that are expected by chance, such as frames of a dimer, or of a crystal whose atoms hardly move. Of
    ``n`` pairs with the typical distance ``d`` in ``k`` dimensions, n (near / d)^k are closer than ``near``."""
    if not len(twins.frame):
        return twins
    kept = np.zeros(len(twins.frame), bool)
    groups = _groups(theirs)
    for kind, members in _groups(mine[twins.frame]).items():
        ours, others = np.flatnonzero(mine == kind), groups[kind]
        left = members
        if min(len(ours), len(others)) + (one is not other) * len(ours) >= FEWEST:
            typical, freedom = _typical(one, other, ours, others)
            for limit in (near, SAME):  # copies are reported even if near frames are not
                left = members[twins.distance[members] < limit]
                part = 0.0 if typical < SAME == limit else min(1.0, limit / max(typical, SAME))
                expected = len(ours) * len(others) * part**freedom
                if len(left) > CHANCE * expected:
                    break
                left = left[:0]
        elif len(one) + (one is not other) * len(other) < FEWEST:
            left = members[twins.distance[members] < SAME]
        kept[left] = True
    return _Twins(twins.frame[kept], twins.other[kept], twins.distance[kept])


def _typical(one: FrameSet, other: FrameSet, ours: NDArray[np.int64], others: NDArray[np.int64]) -> tuple[float, float]:
    """Return the typical distance between frames of a composition, and their effective dimension k: a sum of k squares
    has the relative standard deviation sqrt(2 / k)."""
    random = np.random.default_rng(0)
    frame, twin = random.choice(ours, PROBED), random.choice(others, PROBED)
    apart = (frame != twin) | (one is not other)
    distance = _differences(one, other, frame[apart], twin[apart])
    square = np.square(distance[np.isfinite(distance)])
    if len(square) < FEWEST:
        return np.inf, 1.0
    freedom = 2 * square.mean() ** 2 / max(square.var(), 1e-300)
    return float(np.sqrt(np.median(square))), float(np.clip(freedom, 1.0, 3.0 * one[int(ours[0])].num_nodes))


def _extents(dataset: FrameSet) -> NDArray[np.float64]:
    """Return the radius of gyration in Å, (frames,), 0 for periodic frames. It changes by no more than the atoms
    move."""
    found = []
    for block in dataset.blocks("pos", "pbc"):
        atoms, frame, pos = block.atoms.numpy(), block.frame.numpy(), block.values["pos"].numpy()
        center = np.stack([np.bincount(frame, pos[:, k], len(atoms)) for k in range(3)], 1) / atoms[:, None]
        square = np.bincount(frame, np.square(pos - center[frame]).sum(1), len(atoms)) / atoms
        found.append(np.where(block.values["pbc"].numpy().any(1), 0.0, np.sqrt(square)))
    return np.concatenate(found)


def _candidates(mine: _Keys, theirs: _Keys, near: float, within: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of frames of the same composition with similar keys."""
    pairs, groups = [np.zeros((2, 0), np.int64)], _groups(theirs.kind)
    for kind, a in _groups(mine.kind).items():
        b = groups.get(kind)
        if b is None:
            continue
        # The logarithm of a key changes by about as much as the distances (in Å) that it sums over.
        reach = near * np.abs(theirs.sums[b]).max() + 1e-9
        count = min(CANDIDATES + within, len(b))
        distance, place = cKDTree(theirs.sums[b]).query(mine.sums[a], k=range(1, count + 1), distance_upper_bound=reach)
        row, column = np.nonzero(np.isfinite(distance))
        pairs.append(np.stack([a[row], b[place[row, column]]]))
    frame, twin = np.concatenate(pairs, 1)
    apart = (frame != twin) | (not within)
    return frame[apart], twin[apart]


def _groups(kind: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Return the indices of each kind."""
    order = np.argsort(kind, kind="stable")
    kinds, first = np.unique(kind[order], return_index=True)
    return dict(zip(kinds.tolist(), np.split(order, first[1:]), strict=True))


def _differences(
    one: FrameSet, other: FrameSet, frame: NDArray[np.int64], twin: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the root mean square difference of the interatomic distances of pairs of frames, sorted by pair of
    elements and length; distances at the cutoff that only one frame has are ignored."""
    (mine, a), (theirs, b) = (np.unique(frames, return_inverse=True) for frames in (frame, twin))
    sets = one[mine.tolist()], other[theirs.tolist()]
    edges = [_edges(piece) for piece in sets]
    elements = [
        np.sort(piece.stacked("z").numpy()[np.stack([e.i, e.j])], 0) for piece, e in zip(sets, edges, strict=True)
    ]
    types, kind = np.unique(np.concatenate([z[0] * 1000 + z[1] for z in elements]), return_inverse=True)
    if not len(types):  # single atoms
        return np.zeros(len(frame))
    owner = np.concatenate([edges[0].frame, edges[1].frame + len(mine)]) * len(types) + kind.reshape(-1)
    r = np.concatenate([e.r for e in edges])
    r = r[np.lexsort((r, owner))]
    number = np.bincount(owner, minlength=(len(mine) + len(theirs)) * len(types))
    first = (number.cumsum() - number).reshape(-1, len(types))
    number = number.reshape(-1, len(types))
    b = b + len(mine)
    size = np.minimum(number[a], number[b])
    apart = r[_ranges(first[a].reshape(-1), size.reshape(-1))] - r[_ranges(first[b].reshape(-1), size.reshape(-1))]
    shared = size.sum(1)
    total = np.bincount(np.repeat(np.arange(len(frame)), shared), np.square(apart), len(frame))
    unlike = (np.abs(number[a] - number[b]) > 2 + 0.1 * size).any(1)
    return np.where(unlike, np.inf, np.sqrt(total / np.maximum(shared, 1)))

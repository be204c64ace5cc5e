"""Frames that are in two splits: what is tested has then been trained."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from e3frame.data.dataset import Splits
from e3frame.data.frameset import FrameSet
from e3frame.data.graphs import Graph
from e3frame.data.preflight.findings import Finding

NEAR = 0.01
"""Å: root mean square difference of the sorted interatomic distances, below which frames are nearly identical."""
SAME = 1e-4
"""Å: below which they are identical, apart from rounding, turning and shifting."""
CANDIDATES = 6
MAX_FRAMES = 4_000
CHECK = "frames in two splits"


def check_duplicates(splits: Splits) -> Finding:
    """Whether a validation or test frame is one of the training frames, or nearly so, turned or not."""
    train = _Known(splits.train)
    for name, dataset in splits.items():
        if name == "train":
            continue
        near = [(k, *found) for k in _some(dataset) if (found := train.nearest(dataset[k])) and found[1] < NEAR]
        if near:
            k, twin, _ = min(near, key=lambda item: item[2])
            same = sum(item[2] < SAME for item in near)
            kind = f"{same} identical, {len(near) - same} nearly identical"
            (file, frame), (other_file, other) = dataset.where(k), splits.train.where(twin)
            text = (
                f"{len(near)} of {len(dataset)} {name} frames are in training too ({kind}): "
                f"frame {frame} of {file} is frame {other} of {other_file}"
            )
            return Finding(CHECK, "warning", text, "split by time, or by a key: data.split.method=group")
    return Finding(CHECK, "ok", "none")


class _Known:
    """Frames by composition, to be searched for near copies."""

    def __init__(self, dataset: FrameSet) -> None:
        self.dataset = dataset
        members: dict[bytes, list[tuple[int, NDArray]]] = defaultdict(list)
        for k in _some(dataset):
            graph = dataset[k]
            members[_composition(graph)].append((k, _fingerprint(graph)))
        self.trees = {
            key: ([k for k, _ in found], cKDTree(np.stack([print_ for _, print_ in found])))
            for key, found in members.items()
        }

    def nearest(self, graph: Graph) -> tuple[int, float] | None:
        """The most similar frame, and how far it is in Å."""
        known = self.trees.get(_composition(graph))
        if known is None:
            return None
        frames, tree = known
        # Five numbers are few, so the closest of them are compared distance by distance.
        _, places = tree.query(_fingerprint(graph), k=range(1, min(CANDIDATES, len(frames)) + 1))
        return min(
            ((frames[k], _difference(graph, self.dataset[frames[k]])) for k in places), key=lambda found: found[1]
        )


def _some(dataset: FrameSet) -> range:
    return range(0, len(dataset), max(1, -(-len(dataset) // MAX_FRAMES)))


def _composition(graph: Graph) -> bytes:
    return graph.z.sort().values.numpy().tobytes()


def _distances(graph: Graph) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pair of elements and length of each edge, sorted."""
    j, i = graph.edge_index
    r = (graph.pos[j] + graph.edge_shift - graph.pos[i]).norm(dim=1).numpy()
    pair = (torch.minimum(graph.z[i], graph.z[j]) * 1000 + torch.maximum(graph.z[i], graph.z[j])).numpy()
    order = np.lexsort((r, pair))
    return pair[order], r[order]


def _fingerprint(graph: Graph) -> NDArray[np.float64]:
    """Smooth sums over the edges, which do not change under turning, shifting and renumbering."""
    pair, r = _distances(graph)
    weight = np.sqrt(pair % 1000 * (pair // 1000)) / graph.num_nodes
    width = np.array([1.0, 1.5, 2.0, 2.5, 3.0])
    cut = np.square(1 - np.square(r / (r.max() + 1e-9))) if len(r) else r
    return (weight * cut) @ np.exp(-np.square(r[:, None] / width)) if len(r) else np.zeros(5)


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

"""Does a vector or a matrix turn with its molecule? One that was computed in another orientation does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e3frame.data.graphs import Graph
from e3frame.data.preflight.findings import Finding
from e3frame.data.preflight.pair_model import pair_types, summed, thinned

MIN_FRAMES = 60
LEAST_EXPLAINED = 0.15
"""Part of the variance that directions of bonds explain in any tensor that belongs to its molecule."""


def check_frame(graphs: Sequence[Graph], name: str) -> Finding | None:
    """Whether the label ``name``, (3,) or (3, 3) per graph, can be told from the directions of the bonds.

    Sums of r, or of r r - 1/3, over the unit vectors r of the bonds between each two elements turn with the molecule;
    what part of the label's variance a linear fit to one half of the frames explains in the other is near zero if the
    label does not. None where there are too few frames.
    """
    chosen = [g for g in thinned(graphs) if g.edge_index.shape[1] and bool(g[name].isfinite().all())]
    if len(chosen) < MIN_FRAMES:
        return None
    labels = torch.cat([graph[name] for graph in chosen])
    if labels.dim() == 3:
        labels = (labels + labels.mT) / 2
        labels = labels - labels.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(3)
    explained = _explained(_bonds(chosen, labels.dim() - 1).flatten(1, -2).numpy(), labels.flatten(1).numpy())
    said = f"directions of bonds explain {max(explained, 0):.0%} of its variance"
    if explained >= LEAST_EXPLAINED:
        return Finding(name, "ok", f"it turns with the molecule ({said})")
    if labels.dim() == 3:
        text = f"it does not turn with the molecule: {said}"
        return Finding(name, "error", text, "was it computed in another orientation than that of the positions?")
    return Finding(
        name, "warning", f"it may not turn with the molecule: {said}", "are positions and label of one frame?"
    )


def _bonds(graphs: Sequence[Graph], rank: int) -> Tensor:
    """(frames, 3, ..., features): sums over the edges between two elements within three ranges of distance."""
    z = [(graph.z[graph.edge_index[0]], graph.z[graph.edge_index[1]]) for graph in graphs]
    frame = torch.repeat_interleave(torch.arange(len(graphs)), torch.tensor([len(one) for one, _ in z]))
    vectors = torch.cat([g.pos[g.edge_index[0]] + g.edge_shift - g.pos[g.edge_index[1]] for g in graphs])
    source, target = torch.cat([one for one, _ in z]), torch.cat([other for _, other in z])
    pair, types = pair_types(source, target)
    r = vectors.norm(dim=1, keepdim=True)
    directions = vectors / r
    if rank == 1:  # from the lighter to the heavier, else both directions cancel
        tensors = directions * torch.sign(source - target)[:, None]
    else:
        tensors = directions[:, :, None] * directions[:, None, :] - torch.eye(3).to(directions) / 3
    ranges = torch.cat([r < 1.3, (r >= 1.3) & (r < 1.8), (r >= 1.8) & (r < 3.0)], 1).to(r)
    weights = ranges.reshape(len(r), *[1] * rank, 3)
    return summed(tensors[..., None] * weights, frame, pair, len(graphs), types)


def _explained(features: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    """Cross-validated R^2 of ``labels`` (frames, components) on ``features`` (frames, components * k)."""
    features = features.reshape(*labels.shape, -1)
    residual = total = 0.0
    for half in (0, 1):
        x, y = (a[half::2].reshape(-1, *a.shape[2:]) for a in (features, labels))
        normal = x.T @ x
        ridge = 1e-3 * np.trace(normal) / len(normal) + 1e-12
        solution = np.linalg.solve(normal + ridge * np.eye(len(normal)), x.T @ y)
        x, y = (a[1 - half :: 2].reshape(-1, *a.shape[2:]) for a in (features, labels))
        residual += float(np.square(y - x @ solution).sum())
        total += float(np.square(y).sum())
    return 1 - residual / max(total, 1e-300)

r"""A potential of pairs, fitted to the forces alone, that says what energies and stresses should look like.

:math:`E = \frac{1}{2} \sum_{ij} \sum_k c_{s_i s_j k}\, \phi_k(r_{ij})`, with coefficients for each pair of elements, is
linear in c, and so are its forces and stress. It is far too crude to predict any of them, but good enough to tell their
sign and unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e3frame.data.graphs import Graph

MAX_EDGES = 120_000
DEGREE = 12
"""Polynomials per pair of elements."""
RANGE = 1.5
"""Å: the polynomials are in exp(-r / RANGE), which puts most of them where the bonds are."""


class PairModel(NamedTuple):
    """Predictions of the fitted model, frame by frame.

    Attributes:
        explained: part of the forces' variance that the fit explains, apart from what any fit would; None where there
            are too few of them to tell.
        energy: (frames,).
        stress: (frames, 3, 3), zero without a cell.
    """

    explained: float | None
    energy: NDArray[np.float64]
    stress: NDArray[np.float64]


def thinned(graphs: Sequence[Graph]) -> list[Graph]:
    """As many of the graphs, at even distances, as are needed for a fit."""
    edges = sum(graph.edge_index.shape[1] for graph in graphs)
    step = max(1, int(np.ceil(edges / MAX_EDGES)))
    return list(graphs[::step])


def fit_pairs(graphs: Sequence[Graph], forces: NDArray[np.float64]) -> PairModel | None:
    """Least squares on ``forces`` (atoms of all graphs, 3); None where they are fewer than twice the coefficients,
    or all zero."""
    of_forces, of_energy, of_stress = _design(graphs)
    rows, target = of_forces.reshape(-1, of_forces.shape[-1]).numpy(), forces.reshape(-1)
    used = np.abs(rows).max(0) > 1e-12
    if len(rows) < 2 * used.sum() or not used.any() or not target.any():
        return None
    rows = rows[:, used]
    scale = np.sqrt(np.square(rows).mean(0))
    # A ridge, as polynomials of distances that hardly vary are nearly dependent
    normal = (rows / scale).T @ (rows / scale) + 1e-6 * len(rows) * np.eye(len(scale))
    solution = np.linalg.solve(normal, (rows / scale).T @ target) / scale
    coefficients = np.zeros(len(used))
    coefficients[used] = solution
    residual = target - rows @ solution
    left = float(residual @ residual / max(target @ target, 1e-300))
    explained = 1 - left / (1 - used.sum() / len(rows)) if len(rows) > 10 * used.sum() else None
    return PairModel(explained, of_energy.numpy() @ coefficients, of_stress.numpy() @ coefficients)


def _design(graphs: Sequence[Graph]) -> tuple[Tensor, Tensor, Tensor]:
    """Derivatives of forces (atoms, 3, c), energies (frames, c) and stresses (frames, 3, 3, c) by the coefficients."""
    atoms = [graph.num_nodes for graph in graphs]
    starts = np.cumsum([0, *atoms[:-1]])
    edges = torch.cat([graph.edge_index + int(start) for graph, start in zip(graphs, starts, strict=True)], 1)
    frame = torch.repeat_interleave(torch.arange(len(graphs)), torch.tensor([g.edge_index.shape[1] for g in graphs]))
    pos, z = torch.cat([graph.pos for graph in graphs]), torch.cat([graph.z for graph in graphs])
    vectors = pos[edges[0]] + torch.cat([graph.edge_shift for graph in graphs]) - pos[edges[1]]
    r = vectors.norm(dim=1)
    pair, types = pair_types(z[edges[0]], z[edges[1]])
    value, slope = _basis(r)
    direction = vectors / r[:, None]
    force = slope[:, None, :] * direction[:, :, None]
    strain = 0.5 * slope[:, None, None, :] * (vectors[:, :, None] * direction[:, None, :])[..., None]
    cells = torch.cat([graph.cell for graph in graphs])
    periodic = torch.cat([graph.pbc for graph in graphs]).all(1)
    volume = torch.where(periodic, cells.det().abs(), torch.inf)
    return (
        summed(force, edges[1], pair, len(z), types),
        summed(0.5 * value, frame, pair, len(graphs), types),
        summed(strain, frame, pair, len(graphs), types) / volume[:, None, None, None],
    )


def summed(values: Tensor, owner: Tensor, pair: Tensor, owners: int, types: int) -> Tensor:
    """Sum of (edges, ..., k) over the edges of each owner and pair: (owners, ..., types * k)."""
    summed = values.new_zeros(owners * types, *values.shape[1:]).index_add_(0, owner * types + pair, values)
    return summed.unflatten(0, (owners, types)).movedim(1, -2).flatten(-2)


def pair_types(one: Tensor, other: Tensor) -> tuple[Tensor, int]:
    _, pair = (torch.minimum(one, other) * 1000 + torch.maximum(one, other)).unique(return_inverse=True)
    return pair, int(pair.max()) + 1


def _basis(r: Tensor) -> tuple[Tensor, Tensor]:
    """Chebyshev polynomials of exp(-r / RANGE), smoothly zero at the longest distance, and their derivatives by r."""
    low, high = float(torch.exp(-r.max() / RANGE)), float(torch.exp(-r.min() / RANGE))
    fall = torch.exp(-r / RANGE)
    x = 2 * (fall - low) / max(high - low, 1e-12) - 1
    dx = -2 / RANGE * fall / max(high - low, 1e-12)
    angle = torch.acos(x.clamp(-1 + 1e-9, 1 - 1e-9))[:, None] * torch.arange(DEGREE, dtype=r.dtype)
    T = torch.cos(angle)
    dT = torch.arange(DEGREE, dtype=r.dtype) * torch.sin(angle) / torch.sin(angle[:, 1:2]) * dx[:, None]
    cut, end = torch.cos(torch.pi * r / (2 * r.max()))[:, None] ** 2, torch.pi / r.max()
    dcut = -0.5 * end * torch.sin(end * r)[:, None]
    return T * cut, dT * cut + T * dcut

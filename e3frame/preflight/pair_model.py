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

from e3frame.data.pipeline.graphs import Graph

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


class Edges:
    """The edges of some frames, one after another.

    Attributes:
        source, target, r, vectors: of each edge.
        pair, types: which two elements an edge joins, and how many such pairs there are.
        frame: of each edge; ``frame_of_atom`` of each atom; ``frames`` how many there are.
        z: of each atom.
        volume: of each frame, infinite without a full cell.
    """

    def __init__(self, graphs: Sequence[Graph]) -> None:
        self.frames = len(graphs)
        atoms = torch.tensor([graph.num_nodes for graph in graphs])
        number = torch.tensor([graph.edge_index.shape[1] for graph in graphs])
        first = torch.repeat_interleave(atoms.cumsum(0) - atoms, number)
        self.source, self.target = torch.cat([graph.edge_index for graph in graphs], 1) + first
        self.frame = torch.repeat_interleave(torch.arange(self.frames), number)
        self.frame_of_atom = torch.repeat_interleave(torch.arange(self.frames), atoms)
        pos, self.z = torch.cat([graph.pos for graph in graphs]), torch.cat([graph.z for graph in graphs])
        self.vectors = pos[self.source] + torch.cat([graph.edge_shift for graph in graphs]) - pos[self.target]
        self.r = self.vectors.norm(dim=1)
        self.pair, self.types = pair_types(self.z[self.source], self.z[self.target])
        cells = torch.cat([graph.cell for graph in graphs])
        periodic = torch.cat([graph.pbc for graph in graphs]).all(1)
        self.volume = torch.where(periodic, cells.det().abs(), torch.inf)

    def per_frame(self, values: Tensor) -> Tensor:
        """Sum of (edges, ...) over the edges of each frame."""
        return values.new_zeros(self.frames, *values.shape[1:]).index_add_(0, self.frame, values)


class PairFit:
    """Fits of pairs to forces of the same frames.

    Args:
        graphs: each has edges.
    """

    def __init__(self, graphs: Sequence[Graph]) -> None:
        self.edges = Edges(graphs)
        of_forces, of_energy, of_stress = _design(self.edges)
        rows = of_forces.reshape(-1, of_forces.shape[-1]).numpy()
        self._used = np.abs(rows).max(0) > 1e-12
        self._rows = rows[:, self._used]
        self._energy, self._stress = (of.numpy()[..., self._used] for of in (of_energy, of_stress))
        self._scale = np.sqrt(np.square(self._rows).mean(0))
        scaled = self._rows / self._scale
        # A ridge, as polynomials of distances that hardly vary are nearly dependent
        self._normal = scaled.T @ scaled + 1e-6 * len(rows) * np.eye(len(self._scale))

    def __call__(self, forces: NDArray[np.float64]) -> PairModel | None:
        """Least squares on ``forces`` (atoms of all graphs, 3); None where they are fewer than twice the coefficients,
        or all zero."""
        rows, target = self._rows, forces.reshape(-1)
        number = int(self._used.sum())
        if len(rows) < 2 * number or not number or not target.any():
            return None
        solution = np.linalg.solve(self._normal, rows.T @ target / self._scale) / self._scale
        residual = target - rows @ solution
        left = float(residual @ residual / max(target @ target, 1e-300))
        explained = 1 - left / (1 - number / len(rows)) if len(rows) > 10 * number else None
        return PairModel(explained, self._energy @ solution, self._stress @ solution)


def _design(edges: Edges) -> tuple[Tensor, Tensor, Tensor]:
    """Derivatives of forces (atoms, 3, c), energies (frames, c) and stresses (frames, 3, 3, c) by the coefficients."""
    vectors, pair, types = edges.vectors, edges.pair, edges.types
    value, slope = _basis(edges.r)
    direction = vectors / edges.r[:, None]
    force = slope[:, None, :] * direction[:, :, None]
    strain = 0.5 * slope[:, None, None, :] * (vectors[:, :, None] * direction[:, None, :])[..., None]
    return (
        summed(force, edges.target, pair, len(edges.z), types),
        summed(0.5 * value, edges.frame, pair, edges.frames, types),
        summed(strain, edges.frame, pair, edges.frames, types) / edges.volume[:, None, None, None],
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

r"""Pair potential, fitted to forces only, that predicts energies and stresses.

:math:`E = \frac{1}{2} \sum_{ij} \sum_k c_{s_i s_j k}\, \phi_k(r_{ij})`, with coefficients for each pair of elements, is
linear in c, and so are its forces and stress. It is far too crude for predictions, but good enough to check sign and
unit.

Small or symmetric cells, and atoms that hardly move, leave much undetermined. So the same fit is tried on synthetic
potentials: if it fails for one of them, a misfit of the labels of the same frames proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e3frame.data.pipeline.graphs import Graph
from e3frame.preflight.trend import Trend

MAX_EDGES = 120_000
DEGREE = 12
"""Number of polynomials per pair of elements."""
RANGE = 1.5
"""Length in Å: the polynomials are in exp(-r / RANGE), which gives the finest resolution at bond lengths."""


class PairPotential(NamedTuple):
    """Predictions of the fitted model, frame by frame.

    Attributes:
        explained: fraction of the force variance that the fit explains, corrected for the number of coefficients; None
            if there are too few forces.
        energy: (frames,).
        stress: (frames, 3, 3), zero without a cell.
    """

    explained: float | None
    energy: NDArray[np.float64]
    stress: NDArray[np.float64]


def thinned(graphs: Sequence[Graph]) -> list[Graph]:
    """Return as many evenly spaced graphs as a fit needs."""
    edges = sum(graph.edge_index.shape[1] for graph in graphs)
    step = max(1, int(np.ceil(edges / MAX_EDGES)))
    return list(graphs[::step])


class Edges:
    """Concatenated edges of some frames.

    Attributes:
        source, target, r, vectors: atoms, length and vector of each edge.
        pair, types: number of the pair of elements of each edge, and how many such pairs there are.
        frame, frame_of_atom, frames: frame of each edge and of each atom, and the number of frames.
        z: atomic number of each atom.
        volume: volume of each frame, infinite unless it is periodic in three dimensions.
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
        """Return the sum of ``values`` (edges, ...) over the edges of each frame, (frames, ...)."""
        return values.new_zeros(self.frames, *values.shape[1:]).index_add_(0, self.frame, values)


class PairFit:
    """Fits of a pair potential to forces of the same frames.

    Args:
        graphs: frames that all have edges.
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
        # A ridge, because polynomials of distances that hardly vary are nearly dependent
        self._normal = scaled.T @ scaled + 1e-6 * len(rows) * np.eye(len(self._scale))

    def __call__(self, forces: NDArray[np.float64]) -> PairPotential | None:
        """Fit to ``forces`` (atoms of all graphs, 3) by least squares; None if there are fewer values than twice the
        coefficients, or all are zero."""
        rows, target = self._rows, forces.reshape(-1)
        number = int(self._used.sum())
        if len(rows) < 2 * number or not number or not target.any():
            return None
        solution = np.linalg.solve(self._normal, rows.T @ target / self._scale) / self._scale
        residual = target - rows @ solution
        left = float(residual @ residual / max(target @ target, 1e-300))
        explained = 1 - left / (1 - number / len(rows)) if len(rows) > 10 * number else None
        return PairPotential(explained, self._energy @ solution, self._stress @ solution)


def _design(edges: Edges) -> tuple[Tensor, Tensor, Tensor]:
    """Return derivatives of forces (atoms, 3, c), energies (frames, c) and stresses (frames, 3, 3, c) with respect to
    the coefficients."""
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
    """Return the sum of ``values`` (edges, ..., k) over the edges of each owner and pair, (owners, ..., types * k)."""
    summed = values.new_zeros(owners * types, *values.shape[1:]).index_add_(0, owner * types + pair, values)
    return summed.unflatten(0, (owners, types)).movedim(1, -2).flatten(-2)


def pair_types(one: Tensor, other: Tensor) -> tuple[Tensor, int]:
    _, pair = (torch.minimum(one, other) * 1000 + torch.maximum(one, other)).unique(return_inverse=True)
    return pair, int(pair.max()) + 1


def _basis(r: Tensor) -> tuple[Tensor, Tensor]:
    """Return Chebyshev polynomials of exp(-r / RANGE), which go smoothly to zero at the longest distance, and their
    derivatives with respect to r."""
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


STEEP = 1.6
"""Steepness of a bond potential in 1/Å."""
ANGLE_RANGE = 1.35
"""Cutoff of the angle term, in bond lengths."""
CLEAR = 0.5
"""Correlation that the fit must reach for every synthetic potential."""


class Synthetic(NamedTuple):
    """Labels of a synthetic potential: energy (frames,), forces (atoms, 3), stress (frames, 3, 3) in any unit."""

    energy: NDArray[np.float64]
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]


class Trial(NamedTuple):
    """Labels of a synthetic potential, and the fit to its forces."""

    right: Synthetic
    fitted: PairPotential


def trials(fit: PairFit) -> list[Trial]:
    """Return one trial for each synthetic potential that can be fitted."""
    found = [(right, fit(right.forces)) for right in synthetic(fit.edges)]
    return [Trial(right, model) for right, model in found if model is not None]


def doubt(tried: Sequence[Trial], compare: Callable[[Synthetic, PairPotential], Trend | None]) -> float:
    """Return the uncertainty of a slope, as the logarithm of a factor; infinite if a fit does not show the sign."""
    found = [compare(*trial) for trial in tried]
    if not found or any(t is None or not t.is_significant or t.correlation < CLEAR for t in found):
        return np.inf
    return max(abs(float(np.log(t.slope))) for t in found if t is not None)


def synthetic(edges: Edges) -> Iterator[Synthetic]:
    """Yield labels of synthetic potentials: bonds, bonds and angles, metallic, and ionic (weak and strong)."""
    rest = _bond_lengths(edges)
    for energy in (_bonds, _angles, _metal, partial(_ions, strength=2.0), partial(_ions, strength=12.0)):
        vectors = edges.vectors.clone().requires_grad_()
        r = vectors.norm(dim=1)
        atomic = energy(edges, vectors / r[:, None], r, rest)
        (pull,) = torch.autograd.grad(atomic.sum(), vectors)
        forces = torch.zeros(len(edges.z), 3, dtype=r.dtype)
        forces.index_add_(0, edges.target, pull).index_add_(0, edges.source, -pull)
        strain = edges.per_frame(pull[:, :, None] * edges.vectors[:, None, :])
        per_frame = torch.zeros(edges.frames, dtype=r.dtype).index_add_(0, edges.frame_of_atom, atomic.detach())
        yield Synthetic(per_frame.numpy(), forces.numpy(), (strain / edges.volume[:, None, None]).numpy())


def _bond_lengths(edges: Edges) -> Tensor:
    """Return the bond length of the two elements of each edge, (edges,): the mean over the nearest atoms."""
    nearest = torch.full((len(edges.z),), torch.inf, dtype=edges.r.dtype)
    nearest = nearest.scatter_reduce(0, edges.target, edges.r, "amin")
    is_bond = edges.r < 1.2 * nearest[edges.target]
    total = torch.zeros(edges.types, dtype=edges.r.dtype).index_add_(0, edges.pair[is_bond], edges.r[is_bond])
    number = torch.bincount(edges.pair[is_bond], minlength=edges.types)
    lengths = torch.where(number > 0, total / number.clamp(min=1), float(edges.r.median()))
    return lengths[edges.pair]


def _fade(edges: Edges, r: Tensor) -> Tensor:
    return torch.cos(torch.pi * r / (2 * edges.r.max())) ** 2


def _summed(edges: Edges, values: Tensor) -> Tensor:
    return values.new_zeros(len(edges.z), *values.shape[1:]).index_add(0, edges.target, values)


def _bonds(edges: Edges, direction: Tensor, r: Tensor, rest: Tensor) -> Tensor:
    x = torch.exp(-STEEP * (r - rest))
    return 0.5 * _summed(edges, (x**2 - 2 * x) * _fade(edges, r))


def _angles(edges: Edges, direction: Tensor, r: Tensor, rest: Tensor) -> Tensor:
    """Add the square of cos + 1/3 for each two neighbours (Stillinger and Weber 1985), computed from moments."""
    near = torch.where(r < ANGLE_RANGE * rest, torch.cos(torch.pi * r / (2 * ANGLE_RANGE * rest)) ** 2, 0.0)
    square = _summed(edges, near[:, None, None] * direction[:, :, None] * direction[:, None, :]).square().sum((1, 2))
    vector = _summed(edges, near[:, None] * direction).square().sum(1)
    number = _summed(edges, near)
    itself = _summed(edges, near**2) * 16 / 9
    return _bonds(edges, direction, r, rest) + 0.5 * (square + 2 / 3 * vector + number**2 / 9 - itself)


def _metal(edges: Edges, direction: Tensor, r: Tensor, rest: Tensor) -> Tensor:
    """Repulsion minus the square root of a density (Finnis and Sinclair 1984)."""
    x = torch.exp(-STEEP * (r - rest))
    density = _summed(edges, x**2 * _fade(edges, r))
    push = 0.2 * _summed(edges, x**3 * _fade(edges, r))
    return push - (density + 1e-6).sqrt()


def _ions(edges: Edges, direction: Tensor, r: Tensor, rest: Tensor, strength: float) -> Tensor:
    z = edges.z.to(r)
    charge = torch.where(z > z.mean(), -1.0, 1.0).to(r)
    product = charge[edges.source] * charge[edges.target]
    push = torch.exp(-3 * STEEP * (r - rest))
    return 0.5 * _summed(edges, (push + strength * product / r * torch.exp(-r / 4)) * _fade(edges, r))

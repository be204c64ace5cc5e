"""Made-up potentials on the frames that there are: what a fit to forces alone tells of their energies and stresses.

Small or symmetric cells, and shifts that hardly vary a distance, leave much undetermined. A fit that gets any of these
potentials wrong says nothing against the labels of the same frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e3frame.preflight.pair_model import Edges, PairFit, PairModel
from e3frame.preflight.trend import Trend

STEEP = 1.6
"""1/Å, of a bond."""
RANGE = 1.35
"""Times the length of a bond, where angles no longer matter."""
CLEAR = 0.5
"""Correlation that the fit must have with each potential."""


class MadeUp(NamedTuple):
    """Labels of a made-up potential: energy (frames,), forces (atoms, 3), stress (frames, 3, 3) in any unit."""

    energy: NDArray[np.float64]
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]


class Trial(NamedTuple):
    """A made-up potential, and what the fit to its forces makes of it."""

    right: MadeUp
    fitted: PairModel


def trials(fit: PairFit) -> list[Trial]:
    """One for each potential; none where nothing can be fitted."""
    found = [(right, fit(right.forces)) for right in made_up(fit.edges)]
    return [Trial(right, model) for right, model in found if model is not None]


def doubt(tried: Sequence[Trial], compare: Callable[[MadeUp, PairModel], Trend | None]) -> float:
    """By how much a slope may be off, as a factor's logarithm; infinite where a fit does not even tell the sign."""
    found = [compare(*trial) for trial in tried]
    if not found or any(t is None or not t.tells or t.correlation < CLEAR for t in found):
        return np.inf
    return max(abs(float(np.log(t.slope))) for t in found if t is not None)


def made_up(edges: Edges) -> Iterator[MadeUp]:
    """Bonds alone, with angles, as in a metal, and as between ions."""
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
        yield MadeUp(per_frame.numpy(), forces.numpy(), (strain / edges.volume[:, None, None]).numpy())


def _bond_lengths(edges: Edges) -> Tensor:
    """(edges,): the distance from which a pair of elements would not move on, nearly that of the nearest atoms."""
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
    """Square of cos + 1/3 between each two neighbours (Stillinger and Weber 1985), as sums of moments."""
    near = torch.where(r < RANGE * rest, torch.cos(torch.pi * r / (2 * RANGE * rest)) ** 2, 0.0)
    square = _summed(edges, near[:, None, None] * direction[:, :, None] * direction[:, None, :]).square().sum((1, 2))
    vector = _summed(edges, near[:, None] * direction).square().sum(1)
    number = _summed(edges, near)
    itself = _summed(edges, near**2) * 16 / 9
    return _bonds(edges, direction, r, rest) + 0.5 * (square + 2 / 3 * vector + number**2 / 9 - itself)


def _metal(edges: Edges, direction: Tensor, r: Tensor, rest: Tensor) -> Tensor:
    """Repulsion, and the root of a density (Finnis and Sinclair 1984)."""
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

"""Real spherical harmonics as polynomials of x, y and z."""

# ruff: noqa: E741 - l is the degree, here as in the literature

from __future__ import annotations

from functools import cache
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e3frame.algebra import wigner
from e3frame.algebra.functions import HarmonicsNormalization, HarmonicsPlan, harmonics_scale
from e3frame.kernels.constants import constant


@cache
def _steps(lmax: int, normalization: HarmonicsNormalization) -> NDArray[np.float64]:
    """The matrices (2l + 3, 3 (2l + 1)) from Y^l ⊗ x to Y^(l+1) for l = 1 to lmax - 1, flat and one after the other."""
    scales = [harmonics_scale(l, normalization) for l in range(lmax + 1)]
    steps = [wigner.couple_vector(l).reshape(-1, 2 * l + 3).T * (scales[l + 1] / scales[l]) for l in range(1, lmax)]
    return np.concatenate([step.ravel() for step in steps]) if steps else np.zeros(0)


_load_steps = constant(_steps, shared=True)


def _harmonics(x: Tensor, lmax: int, normalization: HarmonicsNormalization) -> list[Tensor]:
    """Y^0 to Y^lmax, each ``(2l + 1, n)``, of ``x`` ``(3, n)``: ``Y^(l+1) ∝ C(Y^l ⊗ x)``.

    The points are the last axis, so that each degree is one outer product along contiguous rows and one matrix product.
    """
    harmonics = [torch.full_like(x[:1], harmonics_scale(0, normalization))]
    if lmax > 0:
        harmonics.append(x * (sqrt(3) * harmonics_scale(1, normalization)))
    if lmax > 1:
        shapes = [(2 * l + 3, 3 * (2 * l + 1)) for l in range(1, lmax)]
        steps = _load_steps(lmax, normalization, dtype=x.dtype, device=x.device)
        sizes = [rows * columns for rows, columns in shapes]
        for step, shape in zip(steps.split(sizes), shapes, strict=True):
            outer = harmonics[-1].unsqueeze(1) * x.unsqueeze(0)
            harmonics.append(step.view(shape) @ outer.flatten(0, 1))
    return harmonics


def _direction(x: Tensor) -> Tensor:
    """``x / |x|`` of vectors ``(3, n)``; zero, with zero derivatives of all orders, where |x| underflows."""
    # Directions do not depend on a constant factor: dividing by the largest component keeps every power in range.
    size = x.detach().abs().amax(dim=0, keepdim=True)
    vanishes = size <= min(torch.finfo(x.dtype).tiny ** 0.25, 1e-9)
    x = torch.where(vanishes, 1.0, x) / torch.where(vanishes, 1.0, size)
    return torch.where(vanishes, 0.0, x * x.square().sum(dim=0, keepdim=True).rsqrt())


def spherical_harmonics(x: Tensor, plan: HarmonicsPlan) -> Tensor:
    """See `e3frame.kernels.spherical_harmonics`."""
    degrees, normalize, normalization = plan
    points = x.reshape(-1, 3).mT.contiguous()
    if normalize:
        points = _direction(points)
    harmonics = _harmonics(points, max(degrees, default=0), normalization)
    chosen = [harmonics[l] for l in degrees]
    out = torch.cat(chosen) if chosen else points[:0]
    return out.mT.contiguous().view(*x.shape[:-1], out.shape[0])

"""Real spherical harmonics as polynomials of x, y and z."""

# ruff: noqa: E741 - l is the degree, here as in the literature

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from math import pi, sqrt
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor, nn

from e3frame import kernels
from e3frame.algebra import wigner
from e3frame.algebra.irreps import Irrep, Irreps, IrrepsLike
from e3frame.algebra.plan import check_choice
from e3frame.kernels.constants import as_floating, constant
from e3frame.kernels.native.harmonics import make_harmonics, read_harmonics, write_harmonics

Normalization: TypeAlias = Literal["integral", "component", "norm"]
Degrees: TypeAlias = int | Iterable[int] | str | Irrep | Irreps


def _scale(l: int, normalization: Normalization) -> float:
    return {"component": 1.0, "norm": 1 / sqrt(2 * l + 1), "integral": 1 / sqrt(4 * pi)}[normalization]


@cache
def _steps(lmax: int, normalization: Normalization) -> np.ndarray:
    """The matrices (2l + 3, 3 (2l + 1)) from Y^l ⊗ x to Y^(l+1) for l = 1 to lmax - 1, flat in a row."""
    steps = [
        wigner.couple_vector(l).reshape(-1, 2 * l + 3).T * (_scale(l + 1, normalization) / _scale(l, normalization))
        for l in range(1, lmax)
    ]
    return np.concatenate([step.ravel() for step in steps]) if steps else np.zeros(0)


_load_steps = constant(_steps)


def _harmonics(lmax: int, x: Tensor, normalization: Normalization) -> list[Tensor]:
    """Y^0 to Y^lmax, each ``(2l + 1, n)``, of ``x`` ``(3, n)``: ``Y^(l+1) ∝ C(Y^l ⊗ x)``.

    The points are the last axis, so that each degree is one outer product along contiguous rows and one matrix product.
    """
    harmonics = [torch.full_like(x[:1], _scale(0, normalization))]
    if lmax > 0:
        harmonics.append(x * (sqrt(3) * _scale(1, normalization)))
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


def _evaluate(x: Tensor, degrees: tuple[int, ...], normalize: bool, normalization: Normalization) -> Tensor:
    """``(..., 3) -> (..., Σ (2l + 1))`` in plain torch."""
    points = x.reshape(-1, 3).mT.contiguous()
    if normalize:
        points = _direction(points)
    harmonics = _harmonics(max(degrees, default=0), points, normalization)
    chosen = [harmonics[l] for l in degrees]
    out = torch.cat(chosen) if chosen else points[:0]
    return out.mT.contiguous().view(*x.shape[:-1], out.shape[0])


def _reference(x: Tensor, text: str) -> Tensor:
    degrees, normalize, scales = read_harmonics(text)
    normalization = next(
        name for name in get_args(Normalization) if all(scale == _scale(l, name) for l, scale in enumerate(scales))
    )
    return _evaluate(x, degrees, normalize, normalization)


_native_harmonics = make_harmonics(_reference)


class SphericalHarmonics(nn.Module):
    """Real spherical harmonics ``Y^l(x)``, homogeneous polynomials of degree l: ``Y^l(R x) = D^l(R) Y^l(x)``.

    Args:
        irreps_out: a degree, degrees, or irreps, whose parities must be those of the input to the power l.
        normalize: whether to replace x by x / |x|. A zero vector stays zero and has zero derivatives.
        normalization: ``component``: |Y^l|² = 2l + 1 on the unit sphere; ``norm``: |Y^l| = 1; ``integral``: ∫ Y_m² = 1.
        irreps_in: ``1o`` (the default, unless irreps_out needs the other) or ``1e``.

    Raises:
        ValueError: another input than one vector, or a parity that it cannot give.
    """

    def __init__(
        self,
        irreps_out: Degrees,
        normalize: bool,
        normalization: Normalization = "integral",
        irreps_in: IrrepsLike = None,
    ) -> None:
        super().__init__()
        check_choice("normalization", normalization, Normalization)
        self.irreps_in, self.degrees = _read_degrees(irreps_out, irreps_in)
        parity = self.irreps_in[0].ir.p
        self.irreps_out = Irreps([(1, (l, parity**l)) for l in self.degrees]).simplify()
        self.normalize = normalize
        self.normalization: Normalization = normalization
        scales = tuple(_scale(l, normalization) for l in range(max(self.degrees, default=0) + 1))
        self._native = write_harmonics(self.degrees, normalize, scales)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., 3) -> (..., irreps_out.dim)``."""
        if x.shape[-1:] != (3,):
            raise ValueError(f"x must have a last dimension of 3, got {tuple(x.shape)}")
        x = as_floating(x)
        if self.degrees and kernels.runs_natively(x):
            return _native_harmonics(x, self._native)
        return _evaluate(x, self.degrees, self.normalize, self.normalization)

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {self.irreps_out}, normalize={self.normalize}, {self.normalization}"


def spherical_harmonics(
    l: Degrees,
    x: Tensor,
    normalize: bool,
    normalization: Normalization = "integral",
) -> Tensor:
    """Spherical harmonics of x ``(..., 3)``, of the degrees or irreps ``l``; see `SphericalHarmonics`.

    >>> x = torch.tensor([0.0339, 0.1357, 0.4650])
    >>> spherical_harmonics(2, x, normalize=True, normalization="component").mul(1000).round()
    tensor([ 259.,   76., -856., 1036., 1766.])
    """
    return SphericalHarmonics(l, normalize, normalization)(x)


def _read_degrees(irreps_out: Degrees, irreps_in: IrrepsLike) -> tuple[Irreps, tuple[int, ...]]:
    if isinstance(irreps_out, int):
        irreps_out = [irreps_out]
    if isinstance(irreps_out, str | Irrep):
        irreps_out = Irreps(irreps_out)
    wanted = irreps_out if isinstance(irreps_out, Irreps) else None
    if irreps_in is None:
        irreps_in = "1e" if wanted is not None and any(ir.l % 2 == 1 and ir.p == 1 for _, ir in wanted) else "1o"
    irreps_in = Irreps(irreps_in)
    if irreps_in not in (Irreps("1o"), Irreps("1e")):
        raise ValueError(f"spherical harmonics are functions of one vector, 1x1o or 1x1e; got {irreps_in}")
    if wanted is None:
        return irreps_in, tuple(irreps_out)  # type: ignore[arg-type]
    parity = irreps_in[0].ir.p
    for _, ir in wanted:
        if ir.p != parity**ir.l:
            raise ValueError(
                f"spherical harmonics of {irreps_in} cannot be {ir}; degree {ir.l} is {Irrep(ir.l, -ir.p)}"
            )
    return irreps_in, tuple(wanted.ls)

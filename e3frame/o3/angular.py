"""Spherical harmonics as functions of angles: Legendre polynomials in beta times sines and cosines in alpha."""

# ruff: noqa: E741 - l is the degree, here as in the literature

from __future__ import annotations

from collections.abc import Iterable
from math import pi, sqrt

import torch
from torch import Tensor, nn

from e3frame.algebra.functions import HarmonicsNormalization as Normalization
from e3frame.algebra.irreps import Irreps
from e3frame.algebra.plan import check_choice
from e3frame.kernels.constants import as_floating


class Legendre(nn.Module):
    """Associated Legendre polynomials as polynomials of z = cos β and y = sin β:

    ``P^l_m(z, y) = √((2l + 1)/4π · (l - |m|)!/(l + |m|)!) y^|m| / (2^l l!) d^(l+|m|)/dz^(l+|m|) (z² - 1)^l``,
    without the Condon-Shortley phase, so that ``Y^l_m = P^l_m(cos β, sin β) S_m(α)`` has unit integral. Computed by
    recursion in l, which keeps all digits, unlike a sum over monomials.

    Args:
        ls: degrees.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 8.5.3.

    >>> Legendre([0, 1])(torch.tensor(1.0), torch.tensor(0.0)) * (4 * torch.pi) ** 0.5
    tensor([1.0000, 0.0000, 1.7321, 0.0000])
    """

    def __init__(self, ls: Iterable[int]) -> None:
        super().__init__()
        self.ls = tuple(ls)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Return the polynomials, for each degree m = -l ... l.

        Args:
            z, y: cos β and sin β, of shapes (...) that broadcast.

        Returns:
            (..., Σ (2l + 1)).
        """
        z, y = torch.broadcast_tensors(as_floating(z), as_floating(y))
        lmax = max(self.ls, default=-1)
        columns = [_column(m, lmax, z, y) for m in range(lmax + 1)]
        chosen = [columns[abs(m)][l - abs(m)] for l in self.ls for m in range(-l, l + 1)]
        return torch.stack(chosen, dim=-1) if chosen else z.new_zeros(*z.shape, 0)

    def extra_repr(self) -> str:
        return f"ls={list(self.ls)}"


def _recursion(l: int, m: int) -> tuple[float, float]:
    """Return a and b of ``P^l_m = a z P^(l-1)_m - b P^(l-2)_m``."""
    a = sqrt((4 * l * l - 1) / (l * l - m * m))
    return a, a * sqrt(((l - 1) ** 2 - m * m) / (4 * (l - 1) ** 2 - 1))


def _column(m: int, lmax: int, z: Tensor, y: Tensor) -> list[Tensor]:
    """Return P^l_m for l = m ... lmax."""
    square = (2 * m + 1) / (4 * pi)
    for k in range(1, m + 1):
        square *= (2 * k - 1) / (2 * k)
    column = [sqrt(square) * y**m]
    for l in range(m + 1, lmax + 1):
        a, b = _recursion(l, m)
        previous = a * z * column[-1]
        column.append(previous - b * column[-2] if l > m + 1 else previous)
    return column


def spherical_harmonics_alpha(l: int, alpha: Tensor) -> Tensor:
    """Return ``S_m(α)`` for m = -l ... l: √2 sin(|m| α), 1, √2 cos(m α).

    Args:
        l: highest frequency.
        alpha: ``(...)``, in radians.

    Returns:
        ``(..., 2l + 1)``.

    >>> spherical_harmonics_alpha(1, torch.tensor(0.0))
    tensor([0.0000, 1.0000, 1.4142])
    """
    alpha = as_floating(alpha)
    m = torch.arange(1, l + 1, dtype=alpha.dtype, device=alpha.device)
    turns = alpha.unsqueeze(-1) * m
    one = torch.ones_like(alpha).unsqueeze(-1)
    return torch.cat([sqrt(2) * turns.sin().flip(-1), one, sqrt(2) * turns.cos()], dim=-1)


class SphericalHarmonicsAlphaBeta(nn.Module):
    """Spherical harmonics ``Y^l_m = S_m(α) P^l_m(cos β)`` of the point R_y(α) R_x(β) e_y.

    Args:
        l: one degree, several degrees, or irreps (only their degrees matter).
        normalization: ``integral``: ∫ Y_m² = 1 over the sphere; ``component``: |Y^l|² = 2l + 1; ``norm``: |Y^l| = 1.

    Raises:
        ValueError: an unknown normalization.
    """

    def __init__(self, l: int | Iterable[int] | Irreps, normalization: Normalization = "integral") -> None:
        super().__init__()
        check_choice("normalization", normalization, Normalization)
        ls = l.ls if isinstance(l, Irreps) else [l] if isinstance(l, int) else list(l)
        self.legendre = Legendre(ls)
        self.normalization: Normalization = normalization

    def forward(self, alpha: Tensor, beta: Tensor) -> Tensor:
        """Return the harmonics (..., Σ (2l + 1)) of the angles ``alpha`` and ``beta``, (...) in radians."""
        alpha, beta = torch.broadcast_tensors(as_floating(alpha), as_floating(beta))
        ls = self.legendre.ls
        lmax = max(ls, default=0)
        waves = spherical_harmonics_alpha(lmax, alpha)
        parts = self.legendre(beta.cos(), beta.sin()).split([2 * l + 1 for l in ls], dim=-1) if ls else ()
        out = [part * waves[..., lmax - l : lmax + l + 1] * self._scale(l) for l, part in zip(ls, parts, strict=True)]
        return torch.cat(out, dim=-1) if out else alpha.new_zeros(*alpha.shape, 0)

    def _scale(self, l: int) -> float:
        return {"integral": 1.0, "component": sqrt(4 * pi), "norm": sqrt(4 * pi / (2 * l + 1))}[self.normalization]


def spherical_harmonics_alpha_beta(
    l: int | Iterable[int] | Irreps, alpha: Tensor, beta: Tensor, *, normalization: Normalization = "integral"
) -> Tensor:
    """Return the spherical harmonics of the point R_y(alpha) R_x(beta) e_y; see `SphericalHarmonicsAlphaBeta`.

    >>> spherical_harmonics_alpha_beta(1, torch.tensor(0.0), torch.tensor(0.0), normalization="norm")
    tensor([0.0000, 1.0000, 0.0000])
    """
    return SphericalHarmonicsAlphaBeta(l, normalization)(alpha, beta)

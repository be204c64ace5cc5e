"""Signals on SO(3): coefficients of Wigner D matrices, and values on a grid of Euler angles."""

# ruff: noqa: E741 - l is the degree, here as in the literature

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from e3frame.algebra.plan import check_choice
from e3frame.o3.exact import ExactBuffers
from e3frame.o3.s2grid import quadrature_weights, s2_grid
from e3frame.o3.wigner import wigner_D


def flat_wigner(lmax: int, alpha: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
    """Return ``√(2l + 1) D^l(α, β, γ)`` for l = 0 ... lmax, flattened to (..., Σ (2l + 1)²), of angles (...)."""
    parts = [(2 * l + 1) ** 0.5 * wigner_D(l, alpha, beta, gamma).flatten(-2) for l in range(lmax + 1)]
    return torch.cat(parts, dim=-1)


class SO3Grid(ExactBuffers):
    """``f(α, β, γ) = n^(-1/2) Σ_l √(2l + 1) F^l · D^l(α, β, γ)`` on a grid, with n the number of coefficients.

    The coefficients F have 2l + 1 copies of each degree l = 0 ... lmax. Components of unit variance give values of unit
    variance. `from_grid` inverts `to_grid` if ``resolution > lmax``.

    Args:
        lmax: highest degree.
        resolution: the grid has 2 resolution values of β, and 2 resolution aspect_ratio values of α and of γ.
        normalization: only ``component``.
        aspect_ratio: number of values of α, relative to that of β.

    Raises:
        ValueError: another normalization.

    >>> grid = SO3Grid(2, 3)
    >>> x = torch.randn(5, 35)
    >>> grid.to_grid(x).shape, torch.allclose(grid.from_grid(grid.to_grid(x)), x, atol=1e-4)
    (torch.Size([5, 12, 6, 12]), True)
    """

    D: Tensor
    qw: Tensor

    def __init__(
        self,
        lmax: int,
        resolution: int,
        *,
        normalization: Literal["component"] = "component",
        aspect_ratio: float = 2,
    ) -> None:
        super().__init__()
        check_choice("normalization", normalization, Literal["component"])
        self.lmax = lmax
        self.res_beta = 2 * resolution
        self.res_alpha = self.res_gamma = round(2 * aspect_ratio * resolution)
        self._own_buffers(None, None)

    def exact_buffers(self) -> dict[str, Tensor]:
        b, a = s2_grid(self.res_beta, self.res_alpha, torch.float64, "cpu")
        D = flat_wigner(self.lmax, a[:, None, None], b[:, None], a)
        qw = quadrature_weights(self.res_beta) / self.res_alpha**2
        return {"D": D, "qw": qw, "alpha": a, "beta": b, "gamma": a.clone()}

    def to_grid(self, features: Tensor) -> Tensor:
        """Return the values (..., res_alpha, res_beta, res_gamma) of coefficients (..., Σ (2l + 1)²)."""
        return torch.einsum("...i,abci->...abc", features, self.D) / self.D.shape[-1] ** 0.5

    def from_grid(self, features: Tensor) -> Tensor:
        """Return the coefficients (..., Σ (2l + 1)²) of values (..., res_alpha, res_beta, res_gamma)."""
        return torch.einsum("...abc,abci,b->...i", features, self.D, self.qw) * self.D.shape[-1] ** 0.5

    def __repr__(self) -> str:
        return f"{type(self).__name__}(lmax={self.lmax} res={self.res_alpha}x{self.res_beta}x{self.res_gamma})"

"""Signals on the sphere: coefficients of spherical harmonics, and values on a grid.

``f(x) = Σ_l F^l · Y^l(x)`` has (lmax + 1)² coefficients F. The grid has the points
``x_ij = (sin β_i sin α_j, cos β_i, sin β_i cos α_j)`` with ``β_i = π (i + 1/2) / res_beta`` and
``α_j = 2π j / res_alpha``. Since ``Y^l_m(α, β) = S_m(α) P^l_m(cos β)``, a transform is a matrix product along β and a
Fourier transform along α. The quadrature on the grid is exact for products of two signals of degree below
res_beta / 2 (Kostelec and Rockmore, J. Fourier Anal. Appl. 14, 145 (2008)).
"""

# ruff: noqa: E741 - l is the degree, here as in the literature

from __future__ import annotations

from math import pi, sqrt
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from e3frame.algebra.errors import AssertedError
from e3frame.algebra.plan import check_choice
from e3frame.kernels.constants import Device, as_floating, floating_dtype
from e3frame.o3.angular import Legendre, spherical_harmonics_alpha
from e3frame.o3.exact import ExactBuffers
from e3frame.o3.rotation import angles_to_xyz

GridNormalization: TypeAlias = Literal["norm", "component", "integral"]
Resolution: TypeAlias = int | tuple[int | None, int | None] | None


def quadrature_weights(res_beta: int) -> Tensor:
    """Return quadrature weights of the circles of latitude: Σ_i w_i f(β_i) is the mean of f over the sphere.

    Returns:
        float64 (res_beta,).

    Raises:
        ValueError: ``res_beta`` is odd or not positive.
    """
    if res_beta < 2 or res_beta % 2 == 1:
        raise AssertedError(f"res_beta must be even and positive, got {res_beta}")
    betas, _ = _angles(res_beta, 1)
    odd = 2 * torch.arange(res_beta // 2, dtype=torch.float64) + 1
    return 2 / res_beta * betas.sin() * (torch.sin(betas[:, None] * odd) / odd).sum(-1)


def _angles(res_beta: int, res_alpha: int) -> tuple[Tensor, Tensor]:
    i, j = torch.arange(res_beta, dtype=torch.float64), torch.arange(res_alpha, dtype=torch.float64)
    return (i + 0.5) / res_beta * pi, j / res_alpha * 2 * pi


def _harmonics(lmax: int, res_beta: int, res_alpha: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    betas, alphas = _angles(res_beta, res_alpha)
    shb = Legendre(range(lmax + 1))(betas.cos(), betas.sin())
    return betas, alphas, shb, spherical_harmonics_alpha(lmax, alphas)


def _cast(tensors: tuple[Tensor, ...], dtype: torch.dtype | None, device: Device) -> tuple[Tensor, ...]:
    dtype = floating_dtype(dtype)
    device = torch.get_default_device() if device is None else device
    return tuple(tensor.to(dtype=dtype, device=device) for tensor in tensors)


def s2_grid(
    res_beta: int, res_alpha: int, dtype: torch.dtype | None = None, device: Device = None
) -> tuple[Tensor, Tensor]:
    """Return the angles β (res_beta,) and α (res_alpha,) of the grid, in radians.

    >>> betas, alphas = s2_grid(2, 4)
    >>> betas / torch.pi, alphas / torch.pi
    (tensor([0.2500, 0.7500]), tensor([0.0000, 0.5000, 1.0000, 1.5000]))
    """
    betas, alphas = _cast(_angles(res_beta, res_alpha), dtype, device)
    return betas, alphas


def spherical_harmonics_s2_grid(
    lmax: int, res_beta: int, res_alpha: int, dtype: torch.dtype | None = None, device: Device = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the two factors of the spherical harmonics on the grid, in ``integral`` normalization.

    Returns:
        betas (res_beta,), alphas (res_alpha,), P (res_beta, (lmax + 1)²) and S (res_alpha, 2 lmax + 1), with
        ``Y^l_m(α_j, β_i) = P_i,lm S_jm``.
    """
    betas, alphas, shb, sha = _cast(_harmonics(lmax, res_beta, res_alpha), dtype, device)
    return betas, alphas, shb, sha


def rfft(x: Tensor, l: int) -> Tensor:
    """Return ``x @ S`` by fast Fourier transform, where S (res, 2l + 1) is `spherical_harmonics_alpha` on the grid.

    Args:
        x: (..., res), values at the angles α_j.
        l: highest frequency.

    Returns:
        (..., 2l + 1).

    >>> x = torch.randn(101)
    >>> *_, S = spherical_harmonics_s2_grid(8, 102, 101)
    >>> torch.allclose(rfft(x, 8), x @ S, atol=1e-4)
    True
    """
    if x.numel() == 0:  # which the libraries behind torch.fft refuse
        return as_floating(x) @ as_floating(x).new_zeros(x.shape[-1], 2 * l + 1)
    waves = torch.fft.rfft(x, dim=-1)[..., : l + 1]
    sin, cos = -sqrt(2) * waves[..., 1:].imag, sqrt(2) * waves[..., 1:].real
    return torch.cat([sin.flip(-1), waves[..., :1].real, cos], dim=-1)


def irfft(x: Tensor, res: int) -> Tensor:
    """Return ``S @ x`` by fast Fourier transform, where S (res, 2l + 1) is `spherical_harmonics_alpha` on the grid.

    Args:
        x: (..., 2l + 1), coefficients.
        res: number of angles α_j.

    Returns:
        (..., res).

    Raises:
        ValueError: ``res`` is even or less than 2l + 1.

    >>> x = torch.randn(17)
    >>> *_, S = spherical_harmonics_s2_grid(8, 102, 101)
    >>> torch.allclose(irfft(x, 101), S @ x, atol=1e-4)
    True
    """
    x = as_floating(x)
    l = x.shape[-1] // 2
    if res % 2 == 0 or res < x.shape[-1]:
        raise AssertedError(f"res must be odd and at least {x.shape[-1]}, the number of waves; got {res}")
    if x.numel() == 0:  # which the libraries behind torch.fft refuse
        return x @ x.new_zeros(x.shape[-1], res)
    mean = torch.complex(x[..., l : l + 1], torch.zeros_like(x[..., l : l + 1]))
    waves = torch.complex(x[..., l + 1 :], -x[..., :l].flip(-1)) / sqrt(2)
    return torch.fft.irfft(torch.cat([mean, waves], dim=-1), n=res, dim=-1, norm="forward")


def _complete(lmax: int | None, res: Resolution) -> tuple[int, int, int]:
    """Fill in (lmax, res_beta, res_alpha): the smallest grid that represents the coefficients without loss."""
    res_beta, res_alpha = (res, None) if isinstance(res, int) or res is None else res
    if res_beta is None:
        if lmax is not None:
            res_beta = 2 * (lmax + 1)
        elif res_alpha is not None:
            res_beta = 2 * ((res_alpha + 1) // 2)
        else:
            raise ValueError("lmax or res is required, got neither")
    if res_alpha is None:
        res_alpha = res_beta - 1 if lmax is None else max(2 * lmax + 1, res_beta - 1)
    if lmax is None:
        lmax = min(res_beta // 2 - 1, (res_alpha - 1) // 2)
    if res_beta % 2 == 1 or res_beta < 2 * (lmax + 1):
        raise AssertedError(f"res_beta must be even and at least 2 (lmax + 1) = {2 * (lmax + 1)}, got {res_beta}")
    return lmax, res_beta, res_alpha


class _S2Transform(ExactBuffers):
    """Common part of both transforms: the grid, and the matrices ``shb`` (m, beta, i) and ``sha`` (alpha, m)."""

    alphas: Tensor
    betas: Tensor
    sha: Tensor
    shb: Tensor

    def _own(
        self,
        lmax: int | None,
        res: Resolution,
        normalization: GridNormalization | Tensor,
        dtype: torch.dtype | None,
        device: Device,
    ) -> None:
        if not isinstance(normalization, Tensor):
            check_choice("normalization", normalization, GridNormalization)
        self.lmax, self.res_beta, self.res_alpha = _complete(lmax, res)
        if isinstance(normalization, Tensor):
            normalization = normalization.detach().to("cpu", torch.float64)
            if normalization.shape != (self.lmax + 1,):
                raise ValueError(f"normalization must have shape ({self.lmax + 1},), got {tuple(normalization.shape)}")
        self.normalization = normalization
        self._own_buffers(dtype, device)

    def _factors(self) -> Tensor:
        """Factors of the coefficients of each degree, (lmax + 1,)."""
        raise NotImplementedError

    def _circle_weights(self) -> Tensor | float:
        """Factors of the values on each circle of latitude, (res_beta,)."""
        return 1.0

    def exact_buffers(self) -> dict[str, Tensor]:
        lmax = self.lmax
        betas, alphas, shb, sha = _harmonics(lmax, self.res_beta, self.res_alpha)
        n = self.normalization if isinstance(self.normalization, Tensor) else self._factors()
        matrix = torch.zeros(2 * lmax + 1, self.res_beta, (lmax + 1) ** 2, dtype=torch.float64)
        for l in range(lmax + 1):
            for m in range(-l, l + 1):
                i = l * (l + 1) + m
                matrix[lmax + m, :, i] = shb[:, i] * n[l] * self._circle_weights()
        return {"alphas": alphas, "betas": betas, "sha": sha, "shb": matrix}

    @property
    def grid(self) -> Tensor:
        """Points of the grid on the unit sphere, (res_beta, res_alpha, 3)."""
        return angles_to_xyz(self.alphas, self.betas[:, None])

    @property
    def _use_fft(self) -> bool:
        return self.res_alpha % 2 == 1 and self.res_alpha >= 2 * self.lmax + 1

    def __repr__(self) -> str:
        return f"{type(self).__name__}(lmax={self.lmax} res={self.res_beta}x{self.res_alpha} (beta x alpha))"


class ToS2Grid(_S2Transform):
    """Evaluate the signal ``f(x) = Σ_l n_l F^l · Y^l(x)`` on the grid; the inverse of `FromS2Grid`.

    Args:
        lmax: highest degree; by default the highest that the grid represents without loss.
        res: res_beta (even), or (res_beta, res_alpha); by default the smallest without loss.
        normalization: ``component`` (components of unit variance) and ``norm`` (each F^l of unit norm) give values of
            unit variance; ``integral``: n_l = 1; or the factors n, of shape (lmax + 1,).
        dtype, device: of the constants, by default the default ones.

    Raises:
        ValueError: a grid too coarse for lmax, an odd res_beta, neither lmax nor res, or an unknown normalization.

    >>> to, back = ToS2Grid(6, (100, 101)), FromS2Grid((100, 101), 6)
    >>> x = torch.randn(3, 49)
    >>> to(x).shape, torch.allclose(back(to(x)), x, atol=1e-4)
    (torch.Size([3, 100, 101]), True)
    """

    def __init__(
        self,
        lmax: int | None = None,
        res: Resolution = None,
        normalization: GridNormalization | Tensor = "component",
        dtype: torch.dtype | None = None,
        device: Device = None,
    ) -> None:
        super().__init__()
        self._own(lmax, res, normalization, dtype, device)

    def _factors(self) -> Tensor:
        l = torch.arange(self.lmax + 1, dtype=torch.float64)
        if self.normalization == "component":
            return (4 * pi / (2 * l + 1) / (self.lmax + 1)).sqrt()
        return torch.full_like(l, sqrt(4 * pi / (self.lmax + 1)) if self.normalization == "norm" else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (..., res_beta, res_alpha) of coefficients (..., (lmax + 1)²)."""
        waves = torch.einsum("mbi,...i->...bm", self.shb, x)
        return irfft(waves, self.res_alpha) if self._use_fft else waves @ self.sha.mT


class FromS2Grid(_S2Transform):
    """Compute the coefficients of values on the grid by exact quadrature; the inverse of `ToS2Grid`.

    Args:
        res: res_beta (even), or (res_beta, res_alpha); by default the smallest without loss.
        lmax: highest degree; by default the highest that the grid represents without loss.
        normalization: that of the `ToS2Grid` to invert, or a factor for each degree, of shape (lmax + 1,).
        lmax_in: lmax of the `ToS2Grid` to invert, by default ``lmax``.
        dtype, device: of the constants, by default the default ones.

    Raises:
        ValueError: a grid too coarse for lmax, an odd res_beta, neither lmax nor res, or an unknown normalization.

    >>> FromS2Grid((100, 101), 6)(torch.randn(3, 100, 101)).shape
    torch.Size([3, 49])
    """

    def __init__(
        self,
        res: Resolution = None,
        lmax: int | None = None,
        normalization: GridNormalization | Tensor = "component",
        lmax_in: int | None = None,
        dtype: torch.dtype | None = None,
        device: Device = None,
    ) -> None:
        super().__init__()
        self.lmax_in = lmax_in
        self._own(lmax, res, normalization, dtype, device)

    def _factors(self) -> Tensor:
        l = torch.arange(self.lmax + 1, dtype=torch.float64)
        lmax_in = self.lmax if self.lmax_in is None else self.lmax_in
        if self.normalization == "component":
            return (4 * pi * (2 * l + 1) * (lmax_in + 1)).sqrt()
        return torch.full_like(l, sqrt(4 * pi * (lmax_in + 1)) if self.normalization == "norm" else 4 * pi)

    def _circle_weights(self) -> Tensor:
        return quadrature_weights(self.res_beta) / self.res_alpha

    def forward(self, x: Tensor) -> Tensor:
        """Return the coefficients (..., (lmax + 1)²) of values (..., res_beta, res_alpha)."""
        waves = rfft(x, self.lmax) if self._use_fft else x @ self.sha
        return torch.einsum("mbi,...bm->...i", self.shb, waves)

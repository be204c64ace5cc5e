"""Functions of plain torch that kernels and modules share, finite with all their derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from e3frame.kernels.constants import as_floating

__all__ = [
    "FUNCTIONS",
    "ScalarFunction",
    "bessel_basis",
    "chebyshev_basis",
    "cosine_envelope",
    "xplor_envelope",
    "gaussian_basis",
    "polynomial_envelope",
    "safe_norm",
    "sinc",
]

ScalarFunction = Callable[[Tensor], Tensor]


def ssp(x: Tensor) -> Tensor:
    """Shifted softplus ln((1 + eˣ)/2), zero at zero (Schütt et al. 2017)."""
    return F.softplus(x) - math.log(2.0)


def identity(x: Tensor) -> Tensor:
    """Return x."""
    return x


def gaussian(x: Tensor) -> Tensor:
    """exp(-x²)."""
    return torch.exp(-x * x)


#: The function of every name in `e3frame.algebra.activations.ACTIVATIONS`.
FUNCTIONS: dict[str, ScalarFunction] = {
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "gelu": F.gelu,
    "elu": F.elu,
    "mish": F.mish,
    "softplus": F.softplus,
    "ssp": ssp,
    "tanh": torch.tanh,
    "sin": torch.sin,
    "softsign": F.softsign,
    "identity": identity,
    "abs": torch.abs,
    "square": torch.square,
    "cos": torch.cos,
    "gaussian": gaussian,
}


def safe_norm(x: Tensor, dim: int = -1, keepdim: bool = False) -> Tensor:
    """‖x‖ along ``dim``, whose first and second derivatives are finite everywhere, and zero at x = 0.

    Norms so small that a second derivative could overflow (1e-102 in float64, 2e-13 in float32) count as zero.
    """
    x = as_floating(x)
    squared = x.square().sum(dim, keepdim=keepdim)
    zero = squared <= torch.finfo(x.dtype).tiny ** (2 / 3)
    # The root sees only positive values: a branch that is not taken still takes part in the derivative.
    return squared.masked_fill(zero, 1.0).sqrt().masked_fill(zero, 0.0)


def sinc(z: Tensor) -> Tensor:
    """Return sin(z)/z, with accurate values and derivatives at every z, including zero and tiny numbers.

    The quotient loses its second derivative to cancellation, with an error of (machine epsilon)/z². Below |z| = 1 the
    Taylor series is used, whose remainder is below 1e-16 after two derivatives.
    """
    z = as_floating(z)
    small = z.abs() < 1.0
    square = z.masked_fill(~small, 0.0).square()
    series = torch.ones_like(z)
    for k in range(9, 0, -1):
        series = 1.0 - square * series / (2 * k * (2 * k + 1))
    large = z.masked_fill(small, 1.0)
    return torch.where(small, series, torch.sin(large) / large)


def bessel_basis(d: Tensor, order: Tensor, r_max: float) -> Tensor:
    """√(2/r_max) sin(nπ d/r_max)/d for each n of ``order`` (k,): (...) -> (..., k)."""
    frequency = order.to(d.dtype) * (math.pi / r_max)
    return math.sqrt(2.0 / r_max) * frequency * sinc(d.unsqueeze(-1) * frequency)


def gaussian_basis(d: Tensor, center: Tensor, r_max: float) -> Tensor:
    """exp(-(d/w - c)²/2) for each c of ``center`` (k,), w = r_max/(k - 1), or r_max if k is 1: (...) -> (..., k)."""
    x = d.unsqueeze(-1) * (max(center.shape[0] - 1, 1) / r_max)
    return torch.exp(-0.5 * (x - center.to(d.dtype)).square())


def chebyshev_basis(x: Tensor, num_basis: int) -> Tensor:
    """The Chebyshev polynomials T_n(x) = cos(n arccos x) for n = 1 ... num_basis: (...) -> (..., num_basis)."""
    before, last = torch.ones_like(x), x
    found = [last]
    for _ in range(num_basis - 1):
        before, last = last, 2.0 * x * last - before
        found.append(last)
    return torch.stack(found, dim=-1)


def polynomial_envelope(d: Tensor, p: int, r_max: float | Tensor) -> Tensor:
    """The envelope of exponent p of Gasteiger et al. 2020, eq. 8: (...) -> (...), zero from r_max on.

    Evaluated as (1 - x)³ Σ_{k<p} (k+1)(k+2)/2 x^k with x = d/r_max: the usual form is noise near the cutoff.
    """
    x = (d / r_max).clamp(max=1.0)
    series = torch.zeros_like(x)
    for k in range(p - 1, -1, -1):
        series = series * x + (k + 1) * (k + 2) / 2
    return (1.0 - x) ** 3 * series


def cosine_envelope(d: Tensor, r_max: float) -> Tensor:
    """(cos(π d/r_max) + 1)/2: (...) -> (...), zero from r_max on."""
    return torch.sin((0.5 * math.pi) * (1.0 - (d / r_max).clamp(max=1.0))).square()


def xplor_envelope(d: Tensor, start: float, r_max: float) -> Tensor:
    """z² (3 - 2z) with z = (r_max² - d²)/(r_max² - start²): (...) -> (...), 1 up to start and zero from r_max on."""
    z = ((1.0 - (d / r_max).clamp(max=1.0).square()) / (1.0 - (start / r_max) ** 2)).clamp(max=1.0)
    return z.square() * (3.0 - 2.0 * z)

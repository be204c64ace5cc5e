"""Functions of the length of an edge: bases, smooth cutoffs, and their product."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from e3frame import kernels
from e3frame.algebra.functions import RadialPlan
from e3frame.kernels.constants import as_floating
from e3frame.kernels.functions import (
    bessel_basis,
    chebyshev_basis,
    cosine_envelope,
    gaussian_basis,
    polynomial_envelope,
    safe_norm,
    xplor_envelope,
)

__all__ = [
    "Basis",
    "BesselBasis",
    "ChebyshevBasis",
    "ConstantBasis",
    "CosineEnvelope",
    "GaussianBasis",
    "NoEnvelope",
    "PolynomialEnvelope",
    "RadialBasis",
    "XplorEnvelope",
]


class Basis(nn.Module):
    """Functions of lengths: (...) -> (..., num_basis)."""

    num_basis: int


class BesselBasis(Basis):
    """e_n(d) = √(2/r) sin(nπ d/r)/d for n = 1 ... num_basis and r = r_max (Gasteiger et al. 2020, eq. 7).

    Orthonormal on a ball, ∫₀^r e_m e_n d² dd = δ_mn, hence in units of Å^(-3/2). Zero at r_max but not beyond: multiply
    by an envelope.

    Args:
        r_max: cutoff, Å.
        num_basis: number of functions.
        trainable: learn the n, which then need not stay integers.

    Raises:
        ValueError: ``r_max`` or ``num_basis`` is not positive.
    """

    def __init__(self, r_max: float, num_basis: int, trainable: bool = False) -> None:
        super().__init__()
        _check(r_max, num_basis)
        self.r_max = float(r_max)
        self.num_basis = num_basis
        self.trainable = trainable
        # Integers and not nπ/r: exact in every dtype, so that a cast of the module back and forth loses nothing.
        order = torch.arange(1, num_basis + 1, dtype=torch.get_default_dtype())
        if trainable:
            self.order = nn.Parameter(order)
        else:
            self.register_buffer("order", order, persistent=False)

    def forward(self, d: Tensor) -> Tensor:
        """(...) lengths in Å -> (..., num_basis)."""
        return bessel_basis(as_floating(d), self.order, self.r_max)

    def extra_repr(self) -> str:
        return f"r_max={self.r_max:g}, num_basis={self.num_basis}, trainable={self.trainable}"


class GaussianBasis(Basis):
    """e_k(d) = exp(-(d - μ_k)²/(2 w²)) with μ_k = k w and w = r_max/(num_basis - 1), k = 0 ... num_basis - 1.

    Evenly spaced from 0 to r_max, each of unit height and as wide as their distance (Schütt et al. 2017); a single one
    is centred at 0 with w = r_max. Does not end at r_max: multiply by an envelope.

    Args:
        r_max: cutoff, Å.
        num_basis: number of functions.

    Raises:
        ValueError: ``r_max`` or ``num_basis`` is not positive.
    """

    center: Tensor

    def __init__(self, r_max: float, num_basis: int) -> None:
        super().__init__()
        _check(r_max, num_basis)
        self.r_max = float(r_max)
        self.num_basis = num_basis
        self.register_buffer("center", torch.arange(num_basis, dtype=torch.get_default_dtype()), persistent=False)

    def forward(self, d: Tensor) -> Tensor:
        """(...) lengths in Å -> (..., num_basis)."""
        return gaussian_basis(as_floating(d), self.center, self.r_max)

    def extra_repr(self) -> str:
        return f"r_max={self.r_max:g}, num_basis={self.num_basis}"


class ChebyshevBasis(Basis):
    """e_n(d) = T_n(d/scale) for the Chebyshev polynomials T_n, n = 1 ... num_basis.

    They lie in [-1, 1] up to d = scale, and grow as d^n beyond. They do not end: multiply by an envelope.

    Args:
        scale: length at which every function is 1, Å.
        num_basis: number of functions.

    Raises:
        ValueError: ``scale`` or ``num_basis`` is not positive.
    """

    def __init__(self, scale: float, num_basis: int) -> None:
        super().__init__()
        _check(scale, num_basis)
        self.scale = float(scale)
        self.num_basis = num_basis

    def forward(self, d: Tensor) -> Tensor:
        """(...) lengths in Å -> (..., num_basis)."""
        return chebyshev_basis(as_floating(d) / self.scale, self.num_basis)

    def extra_repr(self) -> str:
        return f"scale={self.scale:g}, num_basis={self.num_basis}"


class ConstantBasis(Basis):
    """The function 1: times an envelope, the envelope alone."""

    num_basis = 1

    def forward(self, d: Tensor) -> Tensor:
        """(...) lengths -> (..., 1)."""
        return torch.ones_like(as_floating(d)).unsqueeze(-1)


class NoEnvelope(nn.Module):
    """The factor 1: the functions then jump at r_max, if no later factor ends there."""

    def forward(self, d: Tensor) -> Tensor:
        """(...) lengths -> (...)."""
        return torch.ones_like(as_floating(d))


class PolynomialEnvelope(nn.Module):
    """u(x) = 1 - (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) - p(p+1)/2 x^(p+2) with x = d/r_max < 1, and 0 beyond.

    u, u' and u'' vanish at r_max (Gasteiger et al. 2020, eq. 8). Evaluated as (1 - x)³ Σ_{k<p} (k+1)(k+2)/2 x^k, the
    same polynomial without the cancellation that makes the sum above noise near the cutoff.

    Args:
        r_max: cutoff, Å.
        p: exponent, an integer of at least 2; the larger it is, the later u falls off.

    Raises:
        ValueError: ``r_max`` is not positive, or ``p`` is not such an integer.
    """

    def __init__(self, r_max: float, p: int = 6) -> None:
        super().__init__()
        _check(r_max)
        if int(p) != p or p < 2:
            raise ValueError(f"p must be an integer of at least 2, got {p}")
        self.r_max = float(r_max)
        self.p = int(p)

    def forward(self, d: Tensor) -> Tensor:
        """(...) lengths in Å -> (...)."""
        return polynomial_envelope(as_floating(d), self.p, self.r_max)

    def extra_repr(self) -> str:
        return f"r_max={self.r_max:g}, p={self.p}"


class CosineEnvelope(nn.Module):
    """u(x) = (cos(πx) + 1)/2 with x = d/r_max < 1, and 0 beyond (Behler & Parrinello 2007).

    u and u' vanish at r_max, where u'' jumps: forces are continuous, their derivatives are not.

    Args:
        r_max: cutoff, Å.

    Raises:
        ValueError: ``r_max`` is not positive.
    """

    def __init__(self, r_max: float) -> None:
        super().__init__()
        _check(r_max)
        self.r_max = float(r_max)

    def forward(self, d: Tensor) -> Tensor:
        """(...) lengths in Å -> (...)."""
        return cosine_envelope(as_floating(d), self.r_max)

    def extra_repr(self) -> str:
        return f"r_max={self.r_max:g}"


class XplorEnvelope(nn.Module):
    """u = 1 up to ``start``, then z² (3 - 2z) with z = (r_max² - d²)/(r_max² - start²), and 0 from r_max on.

    The switching function of X-PLOR and CHARMM (Brooks et al. 1983, 10.1002/jcc.540040211). u' is continuous, u'' jumps
    at both ends.

    Args:
        start: length at which u begins to fall, Å.
        r_max: cutoff, Å.

    Raises:
        ValueError: the lengths are not positive, or ``start`` is not below ``r_max``.
    """

    def __init__(self, start: float, r_max: float) -> None:
        super().__init__()
        _check(r_max)
        if not 0.0 < start < r_max:
            raise ValueError(f"start must be a positive length below r_max = {r_max} Å, got {start}")
        self.start, self.r_max = float(start), float(r_max)

    def forward(self, d: Tensor) -> Tensor:
        """(...) lengths in Å -> (...)."""
        return xplor_envelope(as_floating(d), self.start, self.r_max)

    def extra_repr(self) -> str:
        return f"start={self.start:g}, r_max={self.r_max:g}"


class RadialBasis(nn.Module):
    """b_n(v) = e_n(t(‖v‖)) u(‖v‖): a basis times an envelope, for edge vectors v; zero wherever the envelope is.

    At v = 0 all derivatives with respect to v count as zero.

    Args:
        basis: module with the attribute ``num_basis``, from lengths (...) to (..., num_basis).
        envelope: module from lengths (...) to (...).
        transform: module from lengths (e,), species (n,) and edges (2, e) to (e,), such as `AgnesiTransform`; None for
            the lengths themselves.
    """

    def __init__(self, basis: Basis, envelope: nn.Module, transform: nn.Module | None = None) -> None:
        super().__init__()
        self.basis = basis
        self.envelope = envelope
        self.transform = transform
        self.num_basis = basis.num_basis
        self._plan = _plan(basis, envelope) if transform is None else None

    def forward(self, vectors: Tensor, species: Tensor | None = None, edge_index: Tensor | None = None) -> Tensor:
        """(..., 3) vectors in Å -> (..., num_basis); with a transform, also (n,) and (2, e)."""
        if self._plan is not None:
            return kernels.radial_basis(as_floating(vectors), self._plan)
        d = safe_norm(vectors)
        t = d if self.transform is None else self.transform(d, species, edge_index)
        return self.basis(t) * self.envelope(d).unsqueeze(-1)


def _plan(basis: nn.Module, envelope: nn.Module) -> RadialPlan | None:
    """The two as one plan; None if they are others than those above, are trainable, or end at different lengths."""
    if type(basis) is BesselBasis and not basis.trainable:
        kind: Literal["bessel", "gaussian"] = "bessel"
    elif type(basis) is GaussianBasis:
        kind = "gaussian"
    else:
        return None
    if type(envelope) is PolynomialEnvelope and envelope.r_max == basis.r_max:
        return RadialPlan(kind, basis.num_basis, "polynomial", envelope.p, basis.r_max)
    if type(envelope) is CosineEnvelope and envelope.r_max == basis.r_max:
        return RadialPlan(kind, basis.num_basis, "cosine", 0, basis.r_max)
    return None


def _check(r_max: float, num_basis: int = 1) -> None:
    if not 0.0 < r_max < math.inf:
        raise ValueError(f"r_max must be a positive length in Å, got {r_max}")
    if num_basis < 1:
        raise ValueError(f"num_basis must be positive, got {num_basis}")

"""Plans of functions of single rows: spherical harmonics, radial functions, activations and gates."""

# ruff: noqa: E741 - l is the degree, here as in the literature

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi, sqrt
from typing import Any, Literal, TypeAlias

from e3frame.algebra.activations import GatePlan

__all__ = [
    "ActivatedGatePlan",
    "ActivationPlan",
    "HarmonicsNormalization",
    "HarmonicsPlan",
    "RadialPlan",
    "harmonics_scale",
]

HarmonicsNormalization: TypeAlias = Literal["integral", "component", "norm"]


HarmonicsPlan: TypeAlias = tuple[tuple[int, ...], bool, HarmonicsNormalization]
"""Plan of spherical harmonics: degrees in the order of the output, whether to normalize the vector first, and the
normalization of the harmonics; see `e3frame.o3.SphericalHarmonics`.

A plain tuple, because `o3.spherical_harmonics` creates it while compilers trace, which cannot handle other objects.
"""


def harmonics_scale(l: int, normalization: HarmonicsNormalization) -> float:
    """Return |Y^l| / √(2l + 1) on the unit sphere."""
    return {"component": 1.0, "norm": 1 / sqrt(2 * l + 1), "integral": 1 / sqrt(4 * pi)}[normalization]


@dataclass(frozen=True)
class RadialPlan:
    """Functions e_n(r) u(r) of the length r of a vector: a basis times an envelope that vanishes at ``r_max``.

    Attributes:
        basis: kind of e_n.
        num_basis: number of functions e_n.
        envelope: kind of u.
        p: exponent of a polynomial envelope, else 0.
        r_max: cutoff in Å.
    """

    basis: Literal["bessel", "gaussian"]
    num_basis: int
    envelope: Literal["polynomial", "cosine"]
    p: int
    r_max: float


@dataclass(frozen=True)
class ActivationPlan:
    """The elementwise function c φ(a x).

    Attributes:
        function: φ, as a name of `e3frame.algebra.activations.ACTIVATIONS` or a function of tensors.
        a, c: factors.
    """

    function: str | Callable[[Any], Any]
    a: float = 1.0
    c: float = 1.0


@dataclass(frozen=True)
class ActivatedGatePlan:
    """A gate with its activations.

    Attributes:
        gate: irreps of the gate.
        scalars, gates: (number of scalars, activation), in order, for all scalars and all gates.
    """

    gate: GatePlan
    scalars: tuple[tuple[int, ActivationPlan], ...]
    gates: tuple[tuple[int, ActivationPlan], ...]

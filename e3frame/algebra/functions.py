"""Plans of functions that act on each row alone: spherical harmonics, radial functions, activations and gates."""

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
"""Real spherical harmonics of a vector: their degrees, in the order of the output; whether the vector is scaled to unit
length first; and their normalization, see `e3frame.o3.SphericalHarmonics`.

A plain tuple: compilers cannot read any other object that is made while they trace, as `o3.spherical_harmonics` does.
"""


def harmonics_scale(l: int, normalization: HarmonicsNormalization) -> float:
    """Norm of Y^l on the unit sphere, over √(2l + 1)."""
    return {"component": 1.0, "norm": 1 / sqrt(2 * l + 1), "integral": 1 / sqrt(4 * pi)}[normalization]


@dataclass(frozen=True)
class RadialPlan:
    """Functions e_n(r) u(r) of the length r of a vector: a basis times an envelope that ends at ``r_max``, in Å.

    Attributes:
        p: exponent of a polynomial envelope, 0 for others.
    """

    basis: Literal["bessel", "gaussian"]
    num_basis: int
    envelope: Literal["polynomial", "cosine"]
    p: int
    r_max: float


@dataclass(frozen=True)
class ActivationPlan:
    """The function c φ(a x) of each element.

    Attributes:
        function: φ, by its name in `e3frame.algebra.activations.ACTIVATIONS`, or as a function of tensors.
    """

    function: str | Callable[[Any], Any]
    a: float = 1.0
    c: float = 1.0


@dataclass(frozen=True)
class ActivatedGatePlan:
    """A gate with its activations.

    Attributes:
        scalars, gates: (number of scalars, their activation) one after the other; they cover all scalars and all gates.
    """

    gate: GatePlan
    scalars: tuple[tuple[int, ActivationPlan], ...]
    gates: tuple[tuple[int, ActivationPlan], ...]

"""Numerical functions in e3nn's API: normalized activations, radial bases, linear algebra, index symmetries."""

from __future__ import annotations

from e3frame.math import perm
from e3frame.math.linalg import complete_basis, direct_sum, orthonormalize
from e3frame.math.moments import moment, normalize2mom
from e3frame.math.radial import bessel, soft_one_hot_linspace, soft_unit_step
from e3frame.math.reduce import germinate_formulas, reduce_permutation

__all__ = [
    "bessel",
    "complete_basis",
    "direct_sum",
    "germinate_formulas",
    "moment",
    "normalize2mom",
    "orthonormalize",
    "perm",
    "reduce_permutation",
    "soft_one_hot_linspace",
    "soft_unit_step",
]

"""Exact constants of SO(3) and SU(2) in NumPy: Clebsch-Gordan coefficients, Wigner 3j symbols, generators.

All arrays are float64 or complex128, cached and read-only.
"""

# ruff: noqa: E741 - l is the degree, here as in the literature

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache, wraps
from math import comb, factorial, prod, sqrt
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from e3frame.algebra.errors import AssertedError

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
_Constant = TypeVar("_Constant", Array, ComplexArray)

# Nonzero entries are far larger than this up to l = 20. Smaller ones are rounding errors of an exact zero.
_ZERO = 1e-13


def _constant(compute: Callable[..., _Constant]) -> Callable[..., _Constant]:
    @lru_cache(maxsize=None, typed=True)
    @wraps(compute)
    def cached(*degrees: int) -> _Constant:
        if any(isinstance(degree, bool) or not isinstance(degree, int) or degree < 0 for degree in degrees):
            raise AssertedError(f"degrees must be non-negative integers, got {', '.join(map(str, degrees))}")
        array = np.ascontiguousarray(compute(*degrees))
        array.setflags(write=False)
        return array

    return cached


def _su2_coefficient(j1: int, m1: int, j2: int, m2: int, j3: int) -> float:
    m3 = m1 + m2
    a, b, c = j1 + j2 - j3, j1 + j3 - j2, j2 + j3 - j1
    series = sum(
        (-1) ** k * comb(a, k) * comb(b, j1 - m1 - k) * comb(c, j2 + m2 - k)
        for k in range(max(0, j1 - m1 - b, j2 + m2 - c), min(a, j1 - m1, j2 + m2) + 1)
    )
    states = ((j1, m1), (j2, m2), (j3, m3))
    numerator = (2 * j3 + 1) * prod(factorial(j - m) * factorial(j + m) for j, m in states)
    denominator = factorial(j1 + j2 + j3 + 1) * factorial(a) * factorial(b) * factorial(c)
    magnitude = sqrt(Fraction(numerator * series**2, denominator))
    return magnitude if series > 0 else -magnitude


@_constant
def su2_clebsch_gordan(j1: int, j2: int, j3: int) -> Array:
    """Return the Clebsch-Gordan coefficients ⟨j1 m1 j2 m2 | j3 m3⟩ of SU(2).

    The square of each coefficient is a ratio of integers (Racah, Phys. Rev. 62, 438 (1942), eq. 16), rounded once.

    Returns:
        (2 j1 + 1, 2 j2 + 1, 2 j3 + 1); zero if the degrees break the triangle rule.
    """
    out = np.zeros((2 * j1 + 1, 2 * j2 + 1, 2 * j3 + 1))
    if abs(j1 - j2) <= j3 <= j1 + j2:
        for m1 in range(-j1, j1 + 1):
            for m2 in range(max(-j2, -j3 - m1), min(j2, j3 - m1) + 1):
                out[j1 + m1, j2 + m2, j3 + m1 + m2] = _su2_coefficient(j1, m1, j2, m2, j3)
    return out


def su2_generators(j: float) -> ComplexArray:
    """Return the generators of SU(2) about x, y and z, in the basis where that of y is diagonal.

    Args:
        j: the spin, 0, 1/2, 1, ...

    Returns:
        complex (3, 2j + 1, 2j + 1).

    Raises:
        ValueError: ``j`` is not a spin.
    """
    if isinstance(j, bool) or not isinstance(j, int | float) or j < 0 or 2 * j % 1:
        raise AssertedError(f"a spin must be a non-negative multiple of 1/2, got {j}")
    return _su2_generators(int(2 * j))


@_constant
def _su2_generators(twice: int) -> ComplexArray:
    j = twice / 2
    m = np.arange(twice) - j
    raising = np.diag(-np.sqrt(j * (j + 1) - m * (m + 1)), k=-1)
    lowering = -raising.T
    about_y = np.diag(1j * (np.arange(twice + 1) - j))
    return np.stack([0.5 * (raising + lowering), about_y, -0.5j * (raising - lowering)])


@_constant
def change_basis_real_to_complex(l: int) -> ComplexArray:
    """Return the unitary (2l + 1, 2l + 1) from the real to the complex basis; its phase makes 3j symbols real."""
    q = np.zeros((2 * l + 1, 2 * l + 1), dtype=np.complex128)
    q[l, l] = 1
    for m in range(1, l + 1):
        q[l - m, l + m] = sqrt(0.5)
        q[l - m, l - m] = -1j * sqrt(0.5)
        q[l + m, l + m] = (-1) ** m * sqrt(0.5)
        q[l + m, l - m] = 1j * (-1) ** m * sqrt(0.5)
    return (-1j) ** l * q


@_constant
def so3_generators(l: int) -> Array:
    """Return the real antisymmetric generators of SO(3) about x, y and z, (3, 2l + 1, 2l + 1)."""
    q = change_basis_real_to_complex(l)
    x = (q.conj().T @ su2_generators(l) @ q).real
    x[np.abs(x) < _ZERO] = 0
    return x


@_constant
def wigner_3j(l1: int, l2: int, l3: int) -> Array:
    """Return the real invariant tensor C of unit norm, with ``C_ijk = Σ D_il D_jm D_kn C_lmn`` for every rotation.

    Returns:
        (2 l1 + 1, 2 l2 + 1, 2 l3 + 1).

    Raises:
        ValueError: the degrees break the triangle rule.
    """
    if not abs(l1 - l2) <= l3 <= l1 + l2:
        raise AssertedError(f"no 3j symbol: {l1}, {l2}, {l3} break the triangle rule |l1 - l2| <= l3 <= l1 + l2")
    q1, q2, q3 = map(change_basis_real_to_complex, (l1, l2, l3))
    c = np.einsum("ij,kl,nm,ikn->jlm", q1, q2, q3.conj(), su2_clebsch_gordan(l1, l2, l3), optimize=True).real
    c[np.abs(c) < _ZERO] = 0
    return c / np.linalg.norm(c)


@_constant
def couple_vector(l: int) -> Array:
    """Return A (2l + 1, 3, 2l + 3) with ``Y^(l+1)_k = Σ A_ijk Y^l_i x_j`` in ``component`` normalization."""
    c = wigner_3j(l, 1, l + 1)
    # On the y axis the middle component of Y^l is √(2l + 1), which determines the factor and its sign.
    return c * sqrt((2 * l + 3) / (2 * l + 1)) / c[l, 1, l + 1]


@_constant
def rotation_y_to_x(l: int) -> Array:
    """Return D^l (2l + 1, 2l + 1) of the quarter turn J with ``J e_y = e_x``: ``exp(t X_x) = J exp(t X_y) Jᵀ``."""
    if l == 0:
        return np.ones((1, 1))
    if l == 1:
        return np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    return raise_degree(rotation_y_to_x(l - 1), rotation_y_to_x(1))


def raise_degree(lower: Array, vector: Array) -> Array:
    """Return D^(l+1) from D^l (2l + 1, 2l + 1) and D^1 (3, 3): the highest degree of their product."""
    l = (len(lower) - 1) // 2
    c = wigner_3j(l, 1, l + 1)
    return (2 * l + 3) * np.einsum("ijk,il,jm,lmn->kn", c, lower, vector, c, optimize=True)

"""Spherical harmonics of vectors."""

# ruff: noqa: E741 - l is the degree, here as in the literature

from __future__ import annotations

from ctypes import c_int32
from functools import lru_cache
from itertools import product
from math import sqrt
from typing import get_args

from e3frame.algebra import wigner
from e3frame.algebra.functions import HarmonicsNormalization, HarmonicsPlan, harmonics_scale
from e3frame.kernels.backends import kept_with_plans
from e3frame.kernels.native import library
from e3frame.kernels.native.unary import Unary, expect
from e3frame.kernels.reference.harmonics import spherical_harmonics


@kept_with_plans
def text_of(plan: HarmonicsPlan) -> str:
    """Write the degrees, whether vectors are normalized, and the scale of each degree up to the highest."""
    degrees, normalize, normalization = plan
    scales = (harmonics_scale(l, normalization).hex() for l in range(max(degrees) + 1))
    return f"{' '.join(map(str, degrees))}|{int(normalize)}|{' '.join(scales)}"


def _read(text: str) -> tuple[HarmonicsPlan, tuple[float, ...]]:
    """Read the plan and the scales of a text.

    Raises:
        ValueError: the scales are not those of a normalization.
    """
    degrees, normalize, written = text.split("|")
    scales = tuple(map(float.fromhex, written.split()))
    for normalization in get_args(HarmonicsNormalization):
        if all(scale == harmonics_scale(l, normalization) for l, scale in enumerate(scales)):
            return (tuple(map(int, degrees.split())), normalize == "1", normalization), scales
    raise ValueError(f"harmonics of an unknown normalization: {text!r}")


@lru_cache
def _compiled(text: str) -> library.Harmonics:
    (degrees, normalize, _), scales = _read(text)
    lmax = len(scales) - 1
    library.require(lmax >= 0 and all(0 <= l <= lmax for l in degrees), "harmonics", text)
    steps = []
    for l in range(1, lmax):
        matrix = wigner.couple_vector(l) * (scales[l + 1] / scales[l])
        for k, i, j in product(range(2 * l + 3), range(2 * l + 1), range(3)):
            if matrix[i, j, k] != 0:
                steps.append(library.HarmonicsStep((l + 1) ** 2 + k, l**2 + i, j, matrix[i, j, k]))
    chosen = [l * l + m for l in degrees for m in range(2 * l + 1)]
    linear = sqrt(3) * scales[1] if lmax > 0 else 0.0
    return library.Harmonics(
        *(lmax, normalize, len(chosen), len(steps), scales[0], linear),
        library.array(c_int32, chosen),
        library.array(library.HarmonicsStep, steps),
    )


def _width(text: str, n: int) -> int:
    expect("harmonics", n, 3)
    return _compiled(text).dim_out


harmonics = Unary("harmonics", _compiled, _width, lambda x, text: spherical_harmonics(x, _read(text)[0]))
"""``harmonics(x, text)``: vectors ``(..., 3) -> (..., dim)``."""

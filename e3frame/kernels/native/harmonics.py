"""Spherical harmonics of vectors."""

# ruff: noqa: E741 - l is the degree, here as in the literature

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_int32
from functools import lru_cache
from itertools import product
from math import sqrt

from torch import Tensor

from e3frame.algebra import wigner
from e3frame.kernels.native import library
from e3frame.kernels.native.unary import Unary, expect


def write_harmonics(degrees: tuple[int, ...], normalize: bool, scales: tuple[float, ...]) -> str:
    """Harmonics as text.

    Args:
        degrees: in the order of the output.
        normalize: whether vectors are made unit vectors first.
        scales: norm of Y^l for each l from 0 to the largest degree, over √(2l + 1).
    """
    return f"{' '.join(map(str, degrees))}|{int(normalize)}|{' '.join(scale.hex() for scale in scales)}"


def read_harmonics(text: str) -> tuple[tuple[int, ...], bool, tuple[float, ...]]:
    """The inverse of `write_harmonics`."""
    degrees, normalize, scales = text.split("|")
    return tuple(map(int, degrees.split())), normalize == "1", tuple(map(float.fromhex, scales.split()))


@lru_cache
def _compiled(text: str) -> library.Harmonics:
    degrees, normalize, scales = read_harmonics(text)
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


def make_harmonics(reference: Callable[[Tensor, str], Tensor]) -> Unary:
    """The function ``(v (..., 3), text) -> (..., dim)``; ``reference`` is the same in plain torch."""
    return Unary("harmonics", _compiled, _width, reference)

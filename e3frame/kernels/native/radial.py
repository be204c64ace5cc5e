"""Radial functions of edge vectors."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from torch import Tensor

from e3frame.kernels.native import library
from e3frame.kernels.native.unary import Unary, expect

BASES = ("bessel", "gaussian")
ENVELOPES = ("polynomial", "cosine")


def write_radial(basis: str, num_basis: int, envelope: str, p: int, r_max: float) -> str:
    """Radial functions as text; p is the exponent of a polynomial envelope."""
    return f"{basis} {num_basis} {envelope} {p} {r_max.hex()}"


def read_radial(text: str) -> tuple[str, int, str, int, float]:
    """The inverse of `write_radial`."""
    basis, num_basis, envelope, p, r_max = text.split()
    return basis, int(num_basis), envelope, int(p), float.fromhex(r_max)


@lru_cache
def _compiled(text: str) -> library.Radial:
    basis, num_basis, envelope, p, r_max = read_radial(text)
    library.require(num_basis > 0 and r_max > 0 and p >= 0, "a radial basis", text)
    return library.Radial(BASES.index(basis), num_basis, ENVELOPES.index(envelope), p, r_max)


def _width(text: str, n: int) -> int:
    expect("radial", n, 3)
    return _compiled(text).num


def make_radial(reference: Callable[[Tensor, str], Tensor]) -> Unary:
    """The function ``(v (..., 3), text) -> (..., num_basis)``; ``reference`` is the same in plain torch."""
    return Unary("radial", _compiled, _width, reference)

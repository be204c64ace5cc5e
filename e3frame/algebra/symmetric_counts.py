"""Numbers of couplings in symmetric powers, in pure Python: what types and numbers of parameters are made of."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Literal, TypeAlias

from e3frame.algebra.irreps import Irrep

__all__ = ["Basis", "Terms", "count_couplings", "count_full", "count_reduced", "outputs_of"]

Basis = Literal["reduced", "full"]
Terms: TypeAlias = tuple[Irrep, ...]
"""Irreps of a channel."""


@lru_cache(256)
def count_couplings(terms: Terms, order: int, basis: Basis) -> Counter[Irrep]:
    """Return the number of couplings of a basis to each irrep."""
    return count_reduced(terms, order) if basis == "reduced" else count_full(terms, order)


def count_reduced(terms: Terms, order: int) -> Counter[Irrep]:
    """Return the number of linearly independent couplings of degree ``order`` to each irrep, without computing them.

    The monomials of weight m (of rotations about one axis) and parity p are counted; the multiplicity of an irrep is
    their number at m = L minus that at m = L + 1.

    >>> count_reduced((Irrep("0e"), Irrep("1o")), 2)
    Counter({0e: 2, 1o: 1, 2e: 1})
    """
    found: Counter[tuple[int, int, int]] = Counter({(0, 0, 1): 1})  # (degree, weight, parity): number of monomials
    for ir in terms:
        for m in range(-ir.l, ir.l + 1):
            for degree in range(1, order + 1):  # ascending: a component may occur several times
                for (n, weight, p), number in list(found.items()):
                    if n == degree - 1:
                        found[degree, weight + m, p * ir.p] += number
    top = order * max((ir.l for ir in terms), default=0)
    irreps = [Irrep(degree, p) for degree in range(top + 1) for p in (-1, 1)]
    numbers = {ir: found[order, ir.l, ir.p] - found[order, ir.l + 1, ir.p] for ir in irreps}
    return Counter({ir: number for ir, number in numbers.items() if number})


def count_full(terms: Terms, order: int) -> Counter[Irrep]:
    """Return the number of couplings of `full_couplings` to each irrep."""
    found = Counter(terms)
    for _ in range(order - 1):
        wider: Counter[Irrep] = Counter()
        for left, number in found.items():
            for ir in terms:
                for out in outputs_of(left, ir, order):
                    wider[out] += number
        found = wider
    return found


def outputs_of(left: Irrep, right: Irrep, order: int) -> list[Irrep]:
    """Return the irreps of a product; in the full basis of degree 4 those of natural parity alone, as in mace-torch."""
    return [ir for ir in left * right if order < 4 or ir.p == (-1) ** ir.l]

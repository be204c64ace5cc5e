"""Couplings of symmetric powers: the equivariant polynomials of one degree in the components of some irreps.

A polynomial of degree ν in the components x_0, x_1, ... is written as its coefficients of the sorted monomials
``x_i1 ... x_iν``, i1 <= ... <= iν. A *coupling* to an irrep of degree L is 2L + 1 such polynomials that rotate as this
irrep. All monomials with the same number of factors from each term of the irreps are a *sector*; no coupling of the
bases below mixes two.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations_with_replacement, groupby, pairwise
from math import comb, factorial, prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from e3frame.algebra.irreps import Irrep
from e3frame.algebra.symmetric_counts import Terms, count_reduced, outputs_of
from e3frame.algebra.wigner import Array, wigner_3j

__all__ = ["Couplings", "Indices", "Sector", "full_couplings", "inner_weights", "reduced_couplings", "sector_monomials"]

Indices: TypeAlias = NDArray[np.int64]
Sector: TypeAlias = tuple[int, ...]
"""The number of the term of each factor, sorted."""

# What is left of candidates that depend on others is 1e-14 at most, and of all others more than 6e-3 (up to l = 6).
_DEPENDENT = 1e-8
_ZERO = 1e-12


@dataclass(frozen=True, eq=False)
class Couplings:
    """Some couplings to one irrep, all of one sector.

    Attributes:
        sector: the terms whose components are multiplied.
        coefficients: (couplings, 2L + 1, monomials of the sector in lexical order).
    """

    sector: Sector
    coefficients: Array


def inner_weights(monomials: Indices) -> Array:
    """Return ``Π_i n_i! / ν!`` for the powers n_i of each monomial: (monomials, ν) -> (monomials,).

    The norm of a polynomial as a symmetric tensor is the root of the sum of these times its squared coefficients.
    """
    weights = np.full(len(monomials), 1 / factorial(monomials.shape[1]))
    power = np.ones(len(monomials))
    for before, after in pairwise(monomials.T):
        power = np.where(before == after, power + 1, 1)
        weights *= power
    return weights


@lru_cache(maxsize=64)
def reduced_couplings(terms: Terms, order: int, ir: Irrep) -> tuple[Couplings, ...]:
    """Return a basis of all couplings of degree ``order`` to ``ir``, sectors in lexical order.

    Those of a sector are the couplings of its first factors times the last factor, in the order of the degrees of the
    former. Gram-Schmidt in this order, with the norm of symmetric tensors, drops those that depend on earlier ones. So
    no choice of an eigensolver enters, and the numbers of two machines differ by rounding alone. Couplings are
    orthogonal as symmetric tensors. Each is scaled to a second moment of 1 for components that are independent and
    normally distributed.

    Raises:
        ArithmeticError: the number of couplings is not that of `count_reduced`.
    """
    sectors = combinations_with_replacement(range(len(terms)), order)
    found = tuple(Couplings(sector, basis) for sector in sectors if len(basis := _basis(terms, sector, ir)))
    number, expected = sum(len(part.coefficients) for part in found), count_reduced(terms, order)[ir]
    if number != expected:
        raise ArithmeticError(f"{terms} have {expected} couplings of degree {order} to {ir}, found {number}")
    return found


def full_couplings(terms: Terms, order: int, ir: Irrep) -> tuple[Couplings, ...]:
    """Return the couplings to ``ir`` of mace-torch's basis U (Batatia et al. 2022, eq. 11), in its order.

    The factors are coupled from left to right along each path once, so that most couplings depend on others after
    symmetrization, and some vanish. At each step the paths are sorted by irrep; equal ones keep the order of their left
    paths, then of the terms. In degree 4 only irreps of natural parity occur on the way. Coefficients are those of U.
    """
    paths: list[tuple[Irrep, Sector, Array]] = [(out, (t,), np.eye(out.dim)[None]) for t, out in enumerate(terms)]
    for n in range(1, order):
        paths.sort(key=lambda path: path[0])
        wider = []
        for left, sector, coefficients in paths:
            for t, factor in enumerate(terms):
                for out in outputs_of(left, factor, order):
                    if n < order - 1 or out == ir:
                        degrees = (left.l, factor.l, out.l)
                        product = _times(coefficients, degrees, *_factor(terms, sector, t)) * sign_before(*degrees)
                        wider.append((out, tuple(sorted((*sector, t))), product))
        paths = wider
    return tuple(Couplings(sector, coefficients) for out, sector, coefficients in paths if out == ir)


@cache
def sign_before(*degrees: int) -> float:
    """Return the sign of ``wigner_3j`` of e3nn before 0.5, to which mace-torch is bound, relative to ours.

    With an odd sum of degrees in ascending order, the first number there that is not zero is positive.
    """
    if sum(degrees) % 2 == 0:
        return 1.0
    symbol = wigner_3j(*sorted(degrees))
    return float(np.sign(symbol[symbol != 0][0]))


@lru_cache(maxsize=4096)
def sector_monomials(terms: Terms, sector: Sector) -> Indices:
    """Return the sorted monomials of a sector in lexical order: (monomials, ν) numbers of components."""
    ends = np.cumsum([ir.dim for ir in terms]).tolist()
    rows: list[tuple[int, ...]] = [()]
    for t, factors in groupby(sector):
        n, own = len(list(factors)), range(ends[t] - terms[t].dim, ends[t])
        rows = [(*row, *more) for row in rows for more in combinations_with_replacement(own, n)]
    return np.array(rows, dtype=np.int64).reshape(-1, len(sector))


@lru_cache(maxsize=4096)
def _basis(terms: Terms, sector: Sector, ir: Irrep) -> Array:
    """The couplings of a sector to an irrep: (couplings, 2L + 1, monomials)."""
    last = terms[sector[-1]]
    if len(sector) == 1:
        return np.eye(last.dim)[None] if ir == last else np.zeros((0, ir.dim, last.dim))
    targets, size = _factor(terms, sector[:-1], sector[-1])
    candidates = [np.zeros((0, ir.dim, size))]
    if ir.p == prod(terms[t].p for t in sector):
        for left in ir * last:
            coefficients = _basis(terms, sector[:-1], left)
            if len(coefficients):
                candidates.append(_times(coefficients, (left.l, last.l, ir.l), targets, size))
    basis = _independent(np.concatenate(candidates), inner_weights(sector_monomials(terms, sector)))
    return np.asarray(basis / np.sqrt(_second_moments(basis, terms, sector))[:, None, None])


@lru_cache(maxsize=4096)
def _factor(terms: Terms, sector: Sector, t: int) -> tuple[Indices, int]:
    """Multiply the monomials of a sector by the components of term t.

    Returns:
        (monomials, 2l + 1), the number of each product in the wider sector; the number of monomials of that.
    """
    wider = sector_monomials(terms, tuple(sorted((*sector, t)))).tolist()
    number = {tuple(row): i for i, row in enumerate(wider)}
    end = sum(ir.dim for ir in terms[: t + 1])
    own = range(end - terms[t].dim, end)
    rows = sector_monomials(terms, sector).tolist()
    return np.array([[number[tuple(sorted((*row, j)))] for j in own] for row in rows], dtype=np.int64), len(wider)


def _times(left: Array, degrees: tuple[int, int, int], targets: Indices, size: int) -> Array:
    """Multiply couplings (couplings, 2 l1 + 1, monomials) by the components of a factor and couple both to l3."""
    l1, l2, l3 = degrees
    c = wigner_3j(l3, l1, l2) * (2 * l3 + 1) ** 0.5
    out = np.zeros((len(left), 2 * l3 + 1, size))
    for j in range(2 * l2 + 1):
        # Monomials differ also after multiplication by one component, so that each target occurs once.
        out[:, :, targets[:, j]] += np.einsum("ki,pim->pkm", c[:, :, j], left)
    return out


def _independent(candidates: Array, weights: Array) -> Array:
    """Return an orthogonal basis of (n, 2L + 1, monomials) by Gram-Schmidt in the given order."""
    scale = np.sqrt(weights)
    found = np.zeros((0, candidates.shape[1] * candidates.shape[2]))
    for x in (candidates * scale).reshape(len(candidates), found.shape[1]):
        rest = x
        for _ in range(2):  # the second pass removes the rounding errors of the first
            rest = rest - (found @ rest) @ found
        length = np.linalg.norm(rest)
        if length > _DEPENDENT * candidates.shape[1] ** 0.5:  # the longest symmetric part is √(2L + 1)
            found = np.concatenate([found, rest[None] / length])
    basis = found.reshape(len(found), *candidates.shape[1:]) / scale
    basis[np.abs(basis) < _ZERO] = 0
    return basis


def _second_moments(couplings: Array, terms: Terms, sector: Sector) -> Array:
    """Expectation of the squares of each coupling, for independent normal components: mean over its components."""
    factors = [(terms[t].dim, number) for t, number in Counter(sector).items()]
    other = couplings.reshape(*couplings.shape[:2], *(comb(dim + n - 1, n) for dim, n in factors))
    for axis, factor in enumerate(factors, start=2):  # the moments of different terms multiply
        other = np.moveaxis(np.tensordot(other, _moments(*factor), axes=(axis, 0)), -1, axis)
    return np.asarray((couplings * other.reshape(couplings.shape)).sum((1, 2)) / couplings.shape[1])


@cache
def _moments(dim: int, order: int) -> Array:
    """Expectation of the product of each two monomials of a degree in independent normal components."""
    rows = combinations_with_replacement(range(dim), order)
    powers = np.array([np.bincount(row, minlength=dim) for row in rows])
    # E[x^n] is (n - 1)!! for even n and 0 for odd n.
    single = np.array([0.0 if n % 2 else prod(range(n - 1, 0, -2)) for n in range(2 * order + 1)])
    return np.asarray(np.prod([single[p[:, None] + p] for p in powers.T], axis=0), dtype=np.float64)

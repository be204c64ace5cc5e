"""The symmetric product as lists of numbers: monomials, and the sparse coefficients of each coupling."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from e3frame.algebra.irreps import Irrep
from e3frame.algebra.symmetric_power import (
    Indices,
    Terms,
    count_full,
    count_reduced,
    full_couplings,
    inner_weights,
    reduced_couplings,
    sector_monomials,
)
from e3frame.algebra.wigner import Array

__all__ = ["Basis", "Entries", "count_couplings", "express", "keys_of", "lower", "scale_of", "symmetrized"]

Basis = Literal["reduced", "full"]
_Numbers = TypeVar("_Numbers", bound="np.ndarray[Any, Any]")


@dataclass(frozen=True, eq=False)
class Entries:
    """The coefficients of one output irrep in one degree ν, which are sparse.

    Entry e contributes ``coefficient[e] * w[coupling[e]] * m[monomial[e]]`` to ``out[component[e]]`` of each channel.
    Entries are sorted by (component, monomial, coupling), each combination once. The arrays are read-only and of equal
    length, which may be 0.

    Attributes:
        component: component of the irrep, 0 to 2L.
        monomial: row of ``SymmetricProductPlan.monomials[ν - 1]``.
        coupling: number of the coupling, counted over all degrees of the irrep, that of degree 1 first.
        coefficient: float64, exact but for rounding.
    """

    component: Indices
    monomial: Indices
    coupling: Indices
    coefficient: Array


@lru_cache(256)
def count_couplings(terms: Terms, order: int, basis: Basis) -> Counter[Irrep]:
    """Return the number of couplings to each irrep, without computing them."""
    return count_reduced(terms, order) if basis == "reduced" else count_full(terms, order)


def scale_of(numbers: tuple[int, ...], order: int) -> float:
    """Return the factor of the reduced couplings of one degree, of which there are ``numbers`` in each degree."""
    return float((max(numbers[order - 1], 1) * sum(n > 0 for n in numbers)) ** -0.5)


@lru_cache(64)
def lower(
    terms: Terms, outputs: Terms, correlation: int, basis: Basis
) -> tuple[tuple[Indices, ...], dict[Irrep, tuple[Entries, ...]]]:
    """Return the monomials of each degree, and the entries of each irrep and degree."""
    dim = sum(ir.dim for ir in terms)
    sparse = {ir: _all_degrees(terms, ir, correlation, basis) for ir in outputs}
    keys: list[Indices] = []
    for order in range(correlation, 0, -1):
        shorter = [keys[0] // dim] if keys else []
        keys.insert(0, np.unique(np.concatenate([*shorter, *(own[order - 1].keys for own in sparse.values())])))
    entries = {}
    for ir, own in sparse.items():
        rows = [np.searchsorted(known, part.keys) for known, part in zip(keys, own, strict=True)]
        parts = [(part.component, row, part.coupling, part.coefficient) for part, row in zip(own, rows, strict=True)]
        entries[ir] = tuple(Entries(_frozen(k), _frozen(m), _frozen(p), _frozen(c)) for k, m, p, c in parts)
    digits = dim ** np.arange(correlation)[::-1]
    monomials = (known[:, None] // digits[-order:] % dim for order, known in enumerate(keys, start=1))
    return tuple(_frozen(known) for known in monomials), entries


class _Sparse(NamedTuple):
    """As `Entries`, with the key of each monomial, see `keys_of`."""

    component: Indices
    keys: Indices
    coupling: Indices
    coefficient: Array


def _all_degrees(terms: Terms, ir: Irrep, correlation: int, basis: Basis) -> list[_Sparse]:
    """The entries of an irrep in each degree."""
    numbers = tuple(count_couplings(terms, order, basis)[ir] for order in range(1, correlation + 1))
    found, first = [], 0
    for order, number in enumerate(numbers, start=1):
        scale = scale_of(numbers, order) if basis == "reduced" else 1.0
        found.append(_sparse(terms, order, ir, basis, first, scale))
        first += number
    return found


def _sparse(terms: Terms, order: int, ir: Irrep, basis: Basis, first: int, scale: float) -> _Sparse:
    """The entries of an irrep in one degree."""
    dim = sum(each.dim for each in terms)
    couplings = reduced_couplings(terms, order).get(ir, ()) if basis == "reduced" else full_couplings(terms, order, ir)
    nothing = np.zeros(0, dtype=np.int64)
    parts = [_Sparse(nothing, nothing, nothing, np.zeros(0))]
    for part in couplings:
        p, k, m = np.nonzero(part.coefficients)
        keys = keys_of(sector_monomials(terms, part.sector), dim)
        parts.append(_Sparse(k, keys[m], p + first, part.coefficients[p, k, m] * scale))
        first += len(part.coefficients)
    component, keys, coupling = (np.concatenate([part[i] for part in parts]) for i in range(3))
    sequence = np.lexsort((coupling, keys, component))
    coefficient = np.concatenate([part.coefficient for part in parts])
    return _Sparse(component[sequence], keys[sequence], coupling[sequence], coefficient[sequence])


def keys_of(monomials: Indices, dim: int) -> Indices:
    """Return the components of each monomial as digits of one number: (monomials, ν) -> (monomials,)."""
    return np.asarray(monomials @ dim ** np.arange(monomials.shape[1])[::-1], dtype=np.int64)


def _frozen(array: _Numbers) -> _Numbers:
    array.setflags(write=False)
    return array


def symmetrized(tensors: Array) -> tuple[Indices, Array]:
    """Return the polynomials ``T_ij.. x_i x_j ..`` as coefficients of sorted monomials.

    Args:
        tensors: (d, ..., d, n), ν axes of length d.

    Returns:
        keys (monomials,) of `keys_of`, and coefficients (n, monomials).
    """
    dim, order = tensors.shape[0], tensors.ndim - 1
    factors = np.sort(np.indices(tensors.shape[:-1]).reshape(order, -1), axis=0)
    keys, place = np.unique(keys_of(factors.T, dim), return_inverse=True)
    out = np.zeros((len(keys), tensors.shape[-1]))
    np.add.at(out, place, tensors.reshape(-1, tensors.shape[-1]))
    return keys, out.T


def express(terms: Terms, order: int, ir: Irrep, keys: Indices, coefficients: Array) -> Array:
    """Express couplings by those of the reduced basis.

    Args:
        keys: (monomials,), sorted.
        coefficients: (n, monomials), the first component of each coupling, which determines the others.

    Returns:
        (reduced couplings, n), the numbers of `reduced_couplings` in each coupling.
    """
    dim = sum(each.dim for each in terms)
    rows = []
    for part in reduced_couplings(terms, order).get(ir, ()):
        monomials = sector_monomials(terms, part.sector)
        found = np.isin(sought := keys_of(monomials, dim), keys)
        given = np.zeros((len(coefficients), len(sought)))
        given[:, found] = coefficients[:, np.searchsorted(keys, sought[found])]
        weights, own = inner_weights(monomials), part.coefficients[:, 0]
        rows.append((own * weights) @ given.T / (own**2 @ weights)[:, None])
    return np.concatenate(rows) if rows else np.zeros((0, len(coefficients)))

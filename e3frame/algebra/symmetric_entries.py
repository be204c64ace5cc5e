"""The symmetric product as lists of numbers: monomials, and the sparse coefficients of each coupling."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from e3frame.algebra.irreps import Irrep
from e3frame.algebra.symmetric_counts import Basis, Terms, count_couplings
from e3frame.algebra.symmetric_power import (
    Indices,
    full_couplings,
    inner_weights,
    reduced_couplings,
    sector_monomials,
)
from e3frame.algebra.wigner import Array

__all__ = ["Entries", "Lowered", "express_tensors", "lower", "reduce_weights"]

if TYPE_CHECKING:
    from e3frame.algebra.symmetric_product import SymmetricProductPlan

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


def _scale_of(numbers: tuple[int, ...], order: int) -> float:
    """The factor of the reduced couplings of one degree, of which there are ``numbers`` in each degree."""
    return float((max(numbers[order - 1], 1) * sum(n > 0 for n in numbers)) ** -0.5)


class Lowered(NamedTuple):
    """A symmetric product as numbers.

    Attributes:
        monomials: see `SymmetricProductPlan.monomials`.
        prefixes: see `SymmetricProductPlan.prefixes`.
        entries: of each irrep and degree.
    """

    monomials: tuple[Indices, ...]
    prefixes: tuple[Indices, ...]
    entries: dict[Irrep, tuple[Entries, ...]]


@lru_cache(64)
def lower(terms: Terms, outputs: Terms, correlation: int, basis: Basis) -> Lowered:
    """Return the monomials of all degrees, and the entries of each irrep."""
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
    prefixes = (np.searchsorted(shorter, longer // dim) for shorter, longer in pairwise(keys))
    return Lowered(tuple(map(_frozen, monomials)), tuple(map(_frozen, prefixes)), entries)


class _Sparse(NamedTuple):
    """As `Entries`, with the key of each monomial, see `_keys_of`."""

    component: Indices
    keys: Indices
    coupling: Indices
    coefficient: Array


def _all_degrees(terms: Terms, ir: Irrep, correlation: int, basis: Basis) -> list[_Sparse]:
    """The entries of an irrep in each degree."""
    numbers = tuple(count_couplings(terms, order, basis)[ir] for order in range(1, correlation + 1))
    found, first = [], 0
    for order, number in enumerate(numbers, start=1):
        scale = _scale_of(numbers, order) if basis == "reduced" else 1.0
        found.append(_sparse(terms, order, ir, basis, first, scale))
        first += number
    return found


def _sparse(terms: Terms, order: int, ir: Irrep, basis: Basis, first: int, scale: float) -> _Sparse:
    """The entries of an irrep in one degree."""
    dim = sum(each.dim for each in terms)
    couplings = (reduced_couplings if basis == "reduced" else full_couplings)(terms, order, ir)
    nothing = np.zeros(0, dtype=np.int64)
    parts = [_Sparse(nothing, nothing, nothing, np.zeros(0))]
    for part in couplings:
        p, k, m = np.nonzero(part.coefficients)
        keys = _keys_of(sector_monomials(terms, part.sector), dim)
        parts.append(_Sparse(k, keys[m], p + first, part.coefficients[p, k, m] * scale))
        first += len(part.coefficients)
    component, keys, coupling = (np.concatenate([part[i] for part in parts]) for i in range(3))
    sequence = np.lexsort((coupling, keys, component))
    coefficient = np.concatenate([part.coefficient for part in parts])
    return _Sparse(component[sequence], keys[sequence], coupling[sequence], coefficient[sequence])


def _keys_of(monomials: Indices, dim: int) -> Indices:
    """The components of each monomial as digits of one number: (monomials, ν) -> (monomials,)."""
    return np.asarray(monomials @ dim ** np.arange(monomials.shape[1])[::-1], dtype=np.int64)


def _frozen(array: _Numbers) -> _Numbers:
    array.setflags(write=False)
    return array


def reduce_weights(plan: SymmetricProductPlan, w: Array) -> Array:
    """See `SymmetricProductPlan.reduce_weights`."""
    other = plan.reduced()
    out = np.zeros(other.weight_shape)
    for old, new in zip(plan.blocks, other.blocks, strict=True):
        start, stop = old.first, new.first
        for order, (n_old, n_new) in enumerate(zip(old.numbers, new.numbers, strict=True), start=1):
            known, entries = plan.monomials[order - 1], old.entries[order - 1]
            one = entries.component == 0
            couplings = np.zeros((n_old, len(known)))
            couplings[entries.coupling[one] + old.first - start, entries.monomial[one]] = entries.coefficient[one]
            change = _express(plan.terms, order, old.ir, _keys_of(known, plan.dim), couplings)
            change /= _scale_of(new.numbers, order)
            out[:, stop : stop + n_new] = np.einsum("qp,spu->squ", change, w[:, start : start + n_old])
            start, stop = start + n_old, stop + n_new
    return out


def express_tensors(plan: SymmetricProductPlan, ir: Irrep, tensors: Array) -> Array:
    """See `SymmetricProductPlan.express`."""
    order = tensors.ndim - 2
    keys, coefficients = _symmetrized(tensors[0])
    return _express(plan.terms, order, ir, keys, coefficients) / _scale_of(plan.numbers[ir], order)


def _symmetrized(tensors: Array) -> tuple[Indices, Array]:
    """The polynomials ``T_ij.. x_i x_j ..`` as coefficients of sorted monomials.

    Args:
        tensors: (d, ..., d, n), ν axes of length d.

    Returns:
        keys (monomials,) of `_keys_of`, and coefficients (n, monomials).
    """
    dim, order = tensors.shape[0], tensors.ndim - 1
    factors = np.sort(np.indices(tensors.shape[:-1]).reshape(order, -1), axis=0)
    keys, place = np.unique(_keys_of(factors.T, dim), return_inverse=True)
    out = np.zeros((len(keys), tensors.shape[-1]))
    np.add.at(out, place, tensors.reshape(-1, tensors.shape[-1]))
    return keys, out.T


def _express(terms: Terms, order: int, ir: Irrep, keys: Indices, coefficients: Array) -> Array:
    """Express couplings in those of the reduced basis.

    Args:
        keys: (monomials,), sorted.
        coefficients: (n, monomials), the first component of each coupling, which determines the others.

    Returns:
        (reduced couplings, n), the numbers of `reduced_couplings` in each coupling.
    """
    dim = sum(each.dim for each in terms)
    rows = []
    for part in reduced_couplings(terms, order, ir):
        monomials = sector_monomials(terms, part.sector)
        found = np.isin(sought := _keys_of(monomials, dim), keys)
        given = np.zeros((len(coefficients), len(sought)))
        given[:, found] = coefficients[:, np.searchsorted(keys, sought[found])]
        weights, own = inner_weights(monomials), part.coefficients[:, 0]
        rows.append((own * weights) @ given.T / (own**2 @ weights)[:, None])
    return np.concatenate(rows) if rows else np.zeros((0, len(coefficients)))

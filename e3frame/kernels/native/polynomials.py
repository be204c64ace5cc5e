"""Sparse polynomials of the components of a channel as sums of products of two values, which the kernel evaluates.

A value is the number one, a component, or a product of two components; every monomial of up to four factors is a
product of two values a and b. Monomials of one output component with the same a form a group, so that a is multiplied
once with a sum over b.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from ctypes import c_double, c_int32
from itertools import combinations
from typing import NamedTuple, TypeAlias

from e3frame.algebra.irreps import Irreps
from e3frame.algebra.symmetric_product import SymmetricProductPlan
from e3frame.kernels.native import library
from e3frame.kernels.native.plans import terms

Factors: TypeAlias = tuple[int, ...]
"""The components of a monomial or a value, sorted: those of the number one are ()."""
Key: TypeAlias = tuple[int, Factors]
"""A component of the output and a monomial."""

# What costs as much as one leaf: a group takes a product and a sum more, a new product of two components four.
_GROUP, _PAIR = 1.0, 2.0


class Leaf(NamedTuple):
    """A monomial of a component of the output.

    Attributes:
        value: its factor b.
        couplings: pairs of a coupling and a coefficient, whose weighted sum is the coefficient of the monomial.
    """

    value: Factors
    couplings: tuple[tuple[int, float], ...]


def read(plan: SymmetricProductPlan) -> dict[Key, tuple[tuple[int, float], ...]]:
    """Return the couplings of every monomial of every component of the output."""
    found: dict[Key, list[tuple[int, float]]] = defaultdict(list)
    first = 0
    for block in plan.blocks:
        for monomials, entries in zip(plan.monomials, block.entries, strict=True):
            factors = list(map(tuple, monomials.tolist()))
            columns = (entries.component, entries.monomial, entries.coupling, entries.coefficient)
            for k, m, p, c in zip(*(column.tolist() for column in columns), strict=True):
                found[first + k, factors[m]].append((block.first + p, c))
        first += block.ir.dim
    return {key: tuple(couplings) for key, couplings in found.items()}


def factorize(keys: Iterable[Key]) -> dict[tuple[Factors, int], list[tuple[Factors, Factors]]]:
    """Write each monomial as a product a b of two values.

    Greedy: again and again the a that serves most of the monomials left for what it costs.

    Returns:
        for each (a, component of the output) the list of (monomial, b).
    """
    served: dict[Factors, dict[Key, Factors]] = defaultdict(dict)
    for key in keys:
        for a, b in _splits(key[1]):
            served[a][key] = b
    pairs: set[Factors] = set()
    groups: dict[tuple[Factors, int], list[tuple[Factors, Factors]]] = {}

    def gain(a: Factors) -> float:
        new = {value for value in (a, *served[a].values()) if len(value) == 2} - pairs
        return len(served[a]) / (_GROUP * len({k for k, _ in served[a]}) + _PAIR * len(new))

    while served:
        best = max(served, key=lambda a: (gain(a), a))
        taken = served.pop(best)
        pairs.update(value for value in (best, *taken.values()) if len(value) == 2)
        for (k, monomial), b in sorted(taken.items()):
            groups.setdefault((best, k), []).append((monomial, b))
        for a in list(served):
            for key in served[a].keys() & taken.keys():
                del served[a][key]
            if not served[a]:
                del served[a]
    return groups


def _splits(monomial: Factors) -> Iterator[tuple[Factors, Factors]]:
    """The ways to write a monomial as a product of two values a and b; b is a pair only in degree four."""
    least = max(len(monomial) - 1, 0) if len(monomial) < 4 else 2
    for n in range(min(least, 2), min(len(monomial), 2) + 1):
        for chosen in set(combinations(range(len(monomial)), n)):
            rest = tuple(f for place, f in enumerate(monomial) if place not in chosen)
            yield tuple(monomial[place] for place in chosen), rest


def number(values: Iterable[Factors], dim: int) -> dict[Factors, int]:
    """Number values: one is 0, component i is i + 1, then the products of two."""
    numbers: dict[Factors, int] = {(): 0} | {(i,): i + 1 for i in range(dim)}
    for pair in sorted({value for value in values if len(value) == 2}):
        numbers[pair] = len(numbers)
    return numbers


def arrays(lists: Iterable[Iterable[int]]) -> tuple[list[int], list[int]]:
    """Return lists one after another, and where each begins, with the end."""
    flat, ends = [], [0]
    for items in lists:
        flat += list(items)
        ends.append(len(flat))
    return flat, ends


class Compiled(NamedTuple):
    """A polynomial as a structure for the library, and the sizes of x, out and w."""

    struct: library.Symmetric
    dim_in: int
    dim_out: int
    weight_shape: tuple[int, int, int]


def pack(
    irreps_in: Irreps,
    irreps_out: Irreps,
    rows_and_couplings: tuple[int, int],
    pairs: Sequence[library.Pair],
    found: Sequence[library.Group],
    values: Sequence[int],
    couplings: Sequence[Iterable[tuple[int, float]]],
) -> Compiled:
    """Pack a polynomial for the library.

    Args:
        irreps_in, irreps_out: irreps of which each has the same number of copies.
        rows_and_couplings: sizes of the first axes of the weights.
        pairs: products of two components, numbered after the components.
        found: groups, sorted by the value a.
        values, couplings: of each leaf its value b, and the couplings with their factors.
    """
    mul, dim = irreps_in[0].mul, sum(ir.dim for _, ir in irreps_in)
    dim_out = sum(ir.dim for _, ir in irreps_out)
    by_output, ends = arrays([n for n, g in enumerate(found) if g.k == k] for k in range(dim_out))
    coupling, ptr = arrays([p for p, _ in each] for each in couplings)
    factor = [c for each in couplings for _, c in each]
    struct = library.Symmetric(
        *(mul, len(irreps_in), len(irreps_out), dim, dim_out),
        *(1 + dim + len(pairs), len(pairs), len(found), len(values), rows_and_couplings[1]),
        *(library.array(library.Term, terms(irreps)) for irreps in (irreps_in, irreps_out)),
        library.array(library.Pair, pairs),
        library.array(library.Group, found),
        *(library.array(c_int32, items) for items in (by_output, ends, values, ptr, coupling)),
        library.array(c_double, factor),
    )
    return Compiled(struct, irreps_in.dim, irreps_out.dim, (*rows_and_couplings, mul))

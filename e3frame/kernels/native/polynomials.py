"""Sparse polynomials of the components of a channel as sums of products of two values, which the kernel evaluates.

A value is the number one, a component, or a product of two components; every monomial of up to four factors is a
product of two values, its head a and its leaf b. Monomials of one component of the output with the same head are a
group: the head is multiplied once, by a sum over leaves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
Groups: TypeAlias = Mapping[tuple[Factors, int], Mapping[Factors, Sequence[tuple[int, float]]]]
"""For each head and component of the output its leaves, each with pairs of a coupling and a coefficient, whose weighted
sum is the coefficient of the monomial."""

# What a group and a new product of two components cost, by the cost of a leaf; near these numbers they matter little.
_GROUP, _PAIR = 1.0, 2.0


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
    """Write each monomial as a product of a head and a leaf.

    Greedy: again and again the head that serves most of the monomials left for what it costs.

    Returns:
        for each (head, component of the output) the list of (monomial, leaf).
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
    """The ways to write a monomial as a head and a leaf; the leaf has two factors in degree four alone."""
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


def pack(irreps_in: Irreps, irreps_out: Irreps, rows_and_couplings: tuple[int, int], groups: Groups) -> Compiled:
    """Pack a polynomial for the library.

    Args:
        irreps_in, irreps_out: irreps of which each has the same number of copies.
        rows_and_couplings: sizes of the first axes of the weights.
        groups: their leaves.
    """
    mul, dim = irreps_in[0].mul, sum(ir.dim for _, ir in irreps_in)
    numbers = number((leaf for leaves in groups.values() for leaf in leaves), dim)
    products: list[Factors] = [value for value in numbers if len(value) == 2]
    products += sorted({head for head, _ in groups}.difference(products))
    places = {value: place for place, value in enumerate(products)}
    pairs = [library.Pair(*([numbers[i,] for i in value] + [0, 0])[:2]) for value in products]
    made: list[library.Group] = []
    values: list[int] = []
    couplings: list[Iterable[tuple[int, float]]] = []
    for (head, k), leaves in sorted(groups.items(), key=lambda item: (places[item[0][0]], item[0][1])):
        made.append(library.Group(places[head], k, len(values), len(leaves)))
        values += [numbers[leaf] for leaf in leaves]
        couplings += leaves.values()
    dim_out = sum(ir.dim for _, ir in irreps_out)
    # Loops of equal length one after another are foreseen by the processor.
    by_length = sorted(range(len(made)), key=lambda n: made[n].count)
    by_output, ends = arrays([n for n in by_length if made[n].k == k] for k in range(dim_out))
    coupling, ptr = arrays([p for p, _ in each] for each in couplings)
    factor = [c for each in couplings for _, c in each]
    struct = library.Symmetric(
        *(mul, len(irreps_in), len(irreps_out), dim, dim_out),
        *(len(numbers), len(made), len(values), rows_and_couplings[1]),
        *(library.array(library.Term, terms(irreps)) for irreps in (irreps_in, irreps_out)),
        library.array(library.Pair, pairs),
        library.array(library.Group, made),
        *(library.array(c_int32, items) for items in (by_output, ends, values, ptr, coupling)),
        library.array(c_double, factor),
    )
    return Compiled(struct, irreps_in.dim, irreps_out.dim, (*rows_and_couplings, mul))

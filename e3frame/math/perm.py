"""Permutations of 0 ... n - 1, each the tuple p of its images p[i], and their representations."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable
from typing import TypeAlias

import torch
from torch import Tensor

from e3frame.algebra.errors import AssertedError
from e3frame.kernels.constants import floating_dtype
from e3frame.math.linalg import complete_basis

__all__ = [
    "Permutation",
    "compose",
    "from_int",
    "germinate",
    "group",
    "identity",
    "inverse",
    "is_group",
    "is_perm",
    "natural_representation",
    "rand",
    "sign",
    "standard_representation",
    "to_cycles",
    "to_int",
]

Permutation: TypeAlias = tuple[int, ...]


def is_perm(p: Permutation) -> bool:
    """Whether p holds each of 0 ... n - 1 once."""
    return sorted(p) == list(range(len(p)))


def identity(n: int) -> Permutation:
    """(0, 1, ..., n - 1)."""
    return tuple(range(n))


def compose(p1: Permutation, p2: Permutation) -> Permutation:
    """p1 ∘ p2, p2 first.

    Raises:
        AssertedError: not two permutations of equally many objects.

    >>> compose((1, 2, 0), (1, 0, 2))
    (2, 1, 0)
    """
    if not (is_perm(p1) and is_perm(p2) and len(p1) == len(p2)):
        raise AssertedError(f"two permutations of equally many objects are required, got {p1} and {p2}")
    return tuple(p1[i] for i in p2)


def inverse(p: Permutation) -> Permutation:
    """The q with q ∘ p = identity."""
    return tuple(sorted(range(len(p)), key=p.__getitem__))


def rand(n: int) -> Permutation:
    """A uniformly random permutation, by the generator of `random`."""
    return from_int(random.randint(0, math.factorial(n) - 1), n)


def from_int(i: int, n: int) -> Permutation:
    """The permutation of number i among the n! of n objects.

    Digit k of i, in the base n - k, tells which of the objects left stands at k.

    >>> [from_int(i, 3) for i in range(6)]
    [(0, 1, 2), (1, 0, 2), (2, 0, 1), (0, 2, 1), (1, 2, 0), (2, 1, 0)]
    """
    left = list(range(n))
    p = []
    while left:
        i, digit = divmod(i, len(left))
        p.append(left.pop(digit))
    return tuple(p)


def to_int(p: Permutation) -> int:
    """Inverse of `from_int`."""
    left = list(range(len(p)))
    i, base = 0, 1
    for image in p:
        digit = left.index(image)
        i += base * digit
        base *= len(left)
        left.pop(digit)
    return i


def group(n: int) -> set[Permutation]:
    """All n! permutations of n objects."""
    return set(itertools.permutations(range(n)))


def germinate(subset: Iterable[Permutation]) -> set[Permutation]:
    """The group that permutations generate.

    >>> sorted(germinate({(1, 2, 0)}))
    [(0, 1, 2), (1, 2, 0), (2, 0, 1)]
    """
    generators = set(subset)
    found = set(generators)
    fresh = generators
    while fresh:
        # In a finite group the inverse of an element is one of its powers, so products reach it.
        fresh = {compose(p, q) for p in generators for q in fresh} - found
        found |= fresh
    return found


def is_group(g: Iterable[Permutation]) -> bool:
    """Whether g holds the identity, all inverses and all products.

    Raises:
        AssertedError: permutations of different numbers of objects.
    """
    g = set(g)
    if not g:
        return False
    # A finite set of permutations that is closed under products holds its inverses and the identity.
    return all(compose(p, q) in g for p in g for q in g)


def to_cycles(p: Permutation) -> set[tuple[int, ...]]:
    """The cycles of at least two objects, each from its smallest object on: i -> p[i] -> ...

    >>> to_cycles((0, 2, 1))
    {(1, 2)}
    """
    cycles = set()
    left = set(range(len(p)))
    while left:
        cycle = [min(left)]
        while p[cycle[-1]] != cycle[0]:
            cycle.append(p[cycle[-1]])
        left.difference_update(cycle)
        if len(cycle) > 1:
            cycles.add(tuple(cycle))
    return cycles


def sign(p: Permutation) -> int:
    """1 for an even number of transpositions, -1 for an odd one."""
    return (-1) ** sum(len(cycle) - 1 for cycle in to_cycles(p))


def natural_representation(
    p: Permutation, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Tensor:
    """Matrix D (n, n) with D e_i = e_p[i]."""
    return torch.eye(len(p), dtype=dtype, device=device)[list(inverse(p))]


def standard_representation(
    p: Permutation, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Tensor:
    """The irrep of dimension n - 1: the natural representation on the vectors whose components sum to zero."""
    dtype = floating_dtype(dtype)
    basis = complete_basis(torch.ones(1, len(p), dtype=dtype, device=device), eps=0.1 / len(p))
    return basis @ natural_representation(p, dtype, device) @ basis.T

"""Index symmetries of tensors, such as ``ijk=-jik``, and bases of the tensors that have them."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from e3frame.algebra.cartesian import read_formula
from e3frame.kernels.constants import floating_dtype
from e3frame.math import perm

__all__ = ["Formulas", "germinate_formulas", "reduce_permutation"]

Formulas: TypeAlias = set[tuple[int, perm.Permutation]]


def germinate_formulas(formula: str) -> tuple[str, Formulas]:
    """Return the group of signed permutations that a formula generates.

    Args:
        formula: index orders that are equal up to a sign, such as ``"ijk=-jik=kij"``.

    Returns:
        the first order, and the group as a set of (sign, permutation).

    Raises:
        RuntimeError: a side is not a permutation of the first, or the first has a sign.

    >>> indices, group = germinate_formulas("ij=-ji")
    >>> indices, sorted(group)
    ('ij', [(-1, (1, 0)), (1, (0, 1))])
    """
    indices, group = read_formula(formula)
    return indices, set(group)


def reduce_permutation(
    f0: str,
    formulas: Collection[tuple[int, perm.Permutation]],
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    **dims: int,
) -> tuple[Tensor, list[list[tuple[int, tuple[int, ...]]]]]:
    """Return an orthonormal basis of the tensors that are invariant under a group of signed permutations.

    Args:
        f0: the indices.
        formulas: the group, from `germinate_formulas`.
        dtype, device: of the basis, by default the default ones.
        dims: dimension of each index, such as ``i=3``; optional for indices that the group exchanges with another.

    Returns:
        Q of shape (n, *dimensions), and for each of the n tensors its nonzero elements as (sign, position). The value
        of an element is the sign divided by the square root of their number.

    Raises:
        RuntimeError: an index without a dimension, or exchanged indices of different dimensions.

    >>> Q, elements = reduce_permutation(*germinate_formulas("ij=-ji"), i=2)
    >>> Q.shape, elements
    (torch.Size([1, 2, 2]), [[(-1, (0, 1)), (1, (1, 0))]])
    """
    shape = _shape(f0, formulas, dims)
    orbits = set()
    seen: set[tuple[int, ...]] = set()
    for x in itertools.product(*map(range, shape)):
        if x in seen:
            continue
        orbit = {(s, tuple(x[i] for i in p)) for s, p in formulas}
        seen.update(y for _, y in orbit)
        if (-1, x) not in orbit:  # T[x] = -T[x] = 0
            orbits.add(tuple(sorted(tuple(sorted(part)) for part in (orbit, {(-s, y) for s, y in orbit}))))
    # Of an orbit and its opposite, the one with more positive signs.
    chosen = [list(max(pair, key=lambda part: sum(s for s, _ in part))) for pair in sorted(orbits)]
    Q = np.zeros((len(chosen), *shape))
    for row, elements in zip(Q, chosen, strict=True):
        for s, x in elements:
            row[x] = s * len(elements) ** -0.5
    return torch.tensor(Q, dtype=floating_dtype(dtype), device=device), chosen


def _shape(f0: str, formulas: Collection[tuple[int, perm.Permutation]], dims: dict[str, int]) -> list[int]:
    """Return the dimension of each index of ``f0``: its own, or that of an index it is exchanged with."""
    dims = dict(dims)
    for _, p in formulas:
        for i, j in zip(f0, (f0[k] for k in p), strict=True):
            known = {dims[index] for index in (i, j) if index in dims}
            if len(known) > 1:
                raise RuntimeError(
                    f"indices {i} and {j} are exchanged and need equal dimensions, got {dims[i]} and {dims[j]}"
                )
            dims.update((index, size) for size in known for index in (i, j))
    for i in f0:
        if i not in dims:
            raise RuntimeError(f"index {i} of {f0!r} has no dimension: pass {i}=...")
    return [dims[i] for i in f0]

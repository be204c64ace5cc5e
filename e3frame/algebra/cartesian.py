"""Symmetries of the indices of a tensor, such as ``ij=ji`` or ``ijk=-jik``, and the irreps of such tensors.

A formula generates a group G of signed permutations of the indices. The projector onto the tensors that have its
symmetry is the mean over G. It commutes with O(3), so that within each irrep it acts on multiplicities alone.
"""

# ruff: noqa: E741 - l is the degree, here as in the literature
from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from e3frame.algebra.irreps import Irrep, Irreps

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

__all__ = ["IndexGroup", "ReducedTensor", "cartesian_irreps", "index_irreps", "read_formula", "reduce_tensor"]

IndexGroup: TypeAlias = frozenset[tuple[int, tuple[int, ...]]]


def read_formula(formula: str) -> tuple[str, IndexGroup]:
    """The indices of a formula, and the group of signed permutations that it generates.

    Args:
        formula: orders of the indices that are equal up to a sign, such as ``"ijk=-jik=kij"``.

    Returns:
        the first order, and the group as a set of (sign, permutation).

    Raises:
        RuntimeError: the sides are not permutations of the first, or the first has a sign.

    >>> indices, group = read_formula("ij=-ji")
    >>> indices, sorted(group)
    ('ij', [(-1, (1, 0)), (1, (0, 1))])
    """
    sides = [side.strip() for side in formula.split("=")]
    first = sides[0]
    if first.startswith("-"):
        raise RuntimeError(f"the first side of {formula!r} must have no minus sign")
    generators = set()
    for side in sides:
        order = side.removeprefix("-")
        if sorted(order) != sorted(first) or len(set(order)) < len(order):
            raise RuntimeError(f"{formula!r}: {order!r} is not a permutation of the distinct indices {first!r}")
        generators.add((-1 if side.startswith("-") else 1, tuple(order.index(i) for i in first)))
    found, fresh = set(generators), set(generators)
    while fresh:
        fresh = {(s1 * s2, tuple(p1[i] for i in p2)) for s1, p1 in generators for s2, p2 in fresh} - found
        found |= fresh
    return first, frozenset(found)


@lru_cache(maxsize=64)
def cartesian_irreps(formula: str) -> Irreps:
    """The irreps of Cartesian tensors (each index a 1o) of a symmetry, counted without computing the tensors.

    The character of the projector is ``χ(θ) = 1/|G| Σ_{(s, p) in G} s Π_{cycles c of p} χ_1(|c| θ)`` with
    ``χ_1(θ) = e^{-iθ} + 1 + e^{iθ}``; l occurs as often as the coefficient of ``e^{ilθ}`` exceeds the next one.

    Raises:
        RuntimeError: as :func:`read_formula`.

    >>> cartesian_irreps("ij=ji"), cartesian_irreps("ij=-ji"), cartesian_irreps("ijk=jik")
    (1x0e+1x2e, 1x1e, 2x1o+1x2o+1x3o)
    """
    indices, group = read_formula(formula)
    character: Counter[int] = Counter()
    for sign, p in group:
        powers = {0: sign}
        for length in _cycle_lengths(p):
            product: Counter[int] = Counter()
            for power, count in powers.items():
                for m in (-length, 0, length):
                    product[power + m] += count
            powers = product
        character.update(powers)
    parity = (-1) ** len(indices)
    multiplicities = [(character[l] - character[l + 1]) // len(group) for l in range(len(indices) + 1)]
    return Irreps([(mul, Irrep(l, parity)) for l, mul in enumerate(multiplicities) if mul])


def _cycle_lengths(permutation: Sequence[int]) -> Iterator[int]:
    left = set(range(len(permutation)))
    while left:
        start = i = left.pop()
        length = 1
        while (i := permutation[i]) != start:
            left.remove(i)
            length += 1
        yield length


def index_irreps(indices: str, group: IndexGroup, given: Mapping[str, Irreps]) -> tuple[Irreps, ...]:
    """The irreps of each index: its own, or those of an index it is exchanged with.

    Raises:
        TypeError: irreps for a name of several letters.
        RuntimeError: an index without irreps, exchanged indices of different irreps, or irreps of no index.
    """
    for name in given:
        if len(name) != 1:
            raise TypeError(f"got an unexpected keyword argument '{name}': irreps are given by index, such as i='1o'")
        if name not in indices:
            raise RuntimeError(f"there are irreps for {name}, which is no index of {indices}")
    known = dict(given)
    for _, p in sorted(group):
        for i, j in zip(indices, (indices[k] for k in p), strict=True):
            choices = [known[index] for index in (i, j) if index in known]
            if len(set(choices)) > 1:
                raise RuntimeError(f"{i} and {j} are exchanged: one irreps for both, got {choices[0]} and {choices[1]}")
            for irreps in choices:
                known[i] = known[j] = irreps
    for i in indices:
        if i not in known:
            raise RuntimeError(f"index {i} of {indices} has no irreps: pass {i}=...")
    return tuple(known[i] for i in indices)


@dataclass(frozen=True)
class ReducedTensor:
    """The irreps of the tensors of one symmetry.

    Attributes:
        irreps_in: the irreps of each index.
        irreps_out: those of the independent components.
        change_of_basis: Q of shape (irreps_out.dim, *dimensions of the indices); its rows are orthonormal.
    """

    irreps_in: tuple[Irreps, ...]
    irreps_out: Irreps
    change_of_basis: Array


@lru_cache(maxsize=64)
def reduce_tensor(
    indices: str,
    group: IndexGroup,
    irreps_in: tuple[Irreps, ...],
    filter_ir_out: frozenset[Irrep] | None = None,
    filter_ir_mid: frozenset[Irrep] | None = None,
    eps: float = 1e-9,
) -> ReducedTensor:
    """Reduce the tensors ``T_ij..`` whose indices have ``irreps_in`` and the symmetry ``group``.

    The indices are coupled one after the other; the couplings of an irrep, in lexical order, span its tensors without
    symmetry. Those with it are the range of the projector, of which the Gram-Schmidt basis in this order is taken, with
    a positive first coefficient: the basis is unique.

    Args:
        filter_ir_out: irreps to keep.
        filter_ir_mid: irreps that may occur on the way, the result included.
        eps: what counts as zero.
    """
    import numpy as np

    shape = tuple(irreps.dim for irreps in irreps_in)
    terms: list[tuple[int, Irrep]] = []
    rows: list[Array] = []
    couplings: dict[Irrep, list[Array]] = {}
    for ir, tensor in _couplings(irreps_in, filter_ir_mid):
        if filter_ir_out is None or ir in filter_ir_out:
            couplings.setdefault(ir, []).append(tensor)
    for ir, found in couplings.items():
        basis = np.stack(found)
        first = basis[:, 0].reshape(len(basis), -1)
        overlap = _symmetrized(basis[:, 0], group).reshape(len(basis), -1) @ first.T
        # With all couplings, the eigenvalues are 0 and 1. What lies between has the symmetry only with filtered ones.
        values, vectors = np.linalg.eigh((overlap + overlap.T) / 2)
        solutions = vectors[:, values > 1 - eps]
        for x in _orthonormal_rows(solutions @ solutions.T, eps):
            terms.append((1, ir))
            rows.append(np.tensordot(x, basis, axes=1))
    change = np.concatenate(rows) if rows else np.zeros((0, *shape))
    change.setflags(write=False)
    return ReducedTensor(irreps_in, Irreps(terms).simplify(), change)


def _symmetrized(tensors: Array, group: IndexGroup) -> Array:
    """The mean over the group of tensors (n, ...), whose indices are those after the first."""
    return sum(s * tensors.transpose(0, *(1 + i for i in p)) for s, p in group) / len(group)  # type: ignore[return-value]


def _couplings(irreps_in: Sequence[Irreps], filter_ir_mid: Collection[Irrep] | None) -> list[tuple[Irrep, Array]]:
    """Orthonormal tensors (ir.dim, *dimensions) that couple the indices one after the other, sorted by irrep.

    Those of a single index keep its order.
    """
    import numpy as np

    unit = np.eye(irreps_in[0].dim)
    found = [(ir, unit[where]) for ir, where in _copies(irreps_in[0])]
    for irreps in irreps_in[1:]:
        found = [coupling for ir, tensor in found for coupling in _couple(ir, tensor, irreps, filter_ir_mid)]
        found.sort(key=lambda coupling: coupling[0])
    return found


def _couple(
    ir_left: Irrep, left: Array, irreps: Irreps, filter_ir_mid: Collection[Irrep] | None
) -> Iterator[tuple[Irrep, Array]]:
    import numpy as np

    from e3frame.algebra.wigner import wigner_3j

    for (mul, ir), where in zip(irreps, irreps.slices(), strict=True):
        for ir_out in ir_left * ir:
            if filter_ir_mid is not None and ir_out not in filter_ir_mid:
                continue
            c = wigner_3j(ir_out.l, ir_left.l, ir.l) * ir_out.dim**0.5
            product = np.einsum("ijk,j...->i...k", c, left)
            for u in range(mul):
                start = where.start + u * ir.dim
                tensor = np.zeros((ir_out.dim, *left.shape[1:], irreps.dim))
                tensor[..., start : start + ir.dim] = product
                yield ir_out, tensor


def _copies(irreps: Irreps) -> Iterator[tuple[Irrep, slice]]:
    start = 0
    for mul, ir in irreps:
        for _ in range(mul):
            yield ir, slice(start, start + ir.dim)
            start += ir.dim


def _orthonormal_rows(vectors: Array, eps: float) -> list[Array]:
    """Gram-Schmidt; the first component of each result that is not zero is positive."""
    import numpy as np

    found: list[Array] = []
    for x in vectors:
        for _ in range(2):  # once more removes the rounding of the first pass
            for y in found:
                x = x - (x @ y) * y
        length = np.linalg.norm(x)
        if length > 2 * eps:
            x = np.where(np.abs(x) < eps * length, 0.0, x / length)
            found.append(x * np.sign(x[np.flatnonzero(x)[0]]))
    return found

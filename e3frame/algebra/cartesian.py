"""Index symmetries of tensors, such as ``ij=ji`` or ``ijk=-jik``, and the irreps of such tensors.

A formula generates a group G of signed permutations of the indices. The projector onto tensors with this symmetry is
the mean over G. It commutes with O(3), so within each irrep it acts on the multiplicities only.
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
    """Read a formula: its indices, and the group of signed permutations that it generates.

    Args:
        formula: index orders that are equal up to a sign, such as ``"ijk=-jik=kij"``.

    Returns:
        the first order, and the group as a set of (sign, permutation).

    Raises:
        RuntimeError: a side is not a permutation of the first, or the first has a sign.

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
    """Return the irreps of Cartesian tensors (each index a 1o) with a symmetry, without computing the tensors.

    The character of the projector is ``χ(θ) = 1/|G| Σ_{(s, p) in G} s Π_{cycles c of p} χ_1(|c| θ)`` with
    ``χ_1(θ) = e^{-iθ} + 1 + e^{iθ}``. The multiplicity of l is the coefficient of ``e^{ilθ}`` minus the next one.

    Raises:
        RuntimeError: see `read_formula`.

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
    """Return the irreps of each index: those given for it, or for an index that the group exchanges it with.

    Args:
        indices, group: from `read_formula`.
        given: irreps by index.

    Raises:
        TypeError: a name of several letters in ``given``.
        RuntimeError: an index without irreps, exchanged indices with different irreps, or irreps for an unknown index.
    """
    for name in given:
        if len(name) != 1:
            raise TypeError(f"got an unexpected keyword argument '{name}': irreps are given by index, such as i='1o'")
        if name not in indices:
            raise RuntimeError(f"irreps are given for {name}, which is not an index of {indices}")
    known = dict(given)
    for _, p in sorted(group):
        for i, j in zip(indices, (indices[k] for k in p), strict=True):
            choices = [known[index] for index in (i, j) if index in known]
            if len(set(choices)) > 1:
                raise RuntimeError(
                    f"indices {i} and {j} are exchanged and need equal irreps, got {choices[0]} and {choices[1]}"
                )
            for irreps in choices:
                known[i] = known[j] = irreps
    for i in indices:
        if i not in known:
            raise RuntimeError(f"index {i} of {indices} has no irreps: pass {i}=...")
    return tuple(known[i] for i in indices)


@dataclass(frozen=True)
class ReducedTensor:
    """Irreps of the tensors with an index symmetry.

    Attributes:
        irreps_in: irreps of each index.
        irreps_out: irreps of the independent components.
        change_of_basis: Q of shape (irreps_out.dim, *dimensions of the indices), with orthonormal rows.
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
    """Decompose the tensors ``T_ij..`` with the symmetry ``group`` into irreps.

    The indices are coupled from left to right. The couplings of an irrep, in lexical order, span all its tensors; those
    with the symmetry are the range of the projector. Gram-Schmidt in this order, with a positive first coefficient,
    gives a unique basis.

    Args:
        indices, group: from `read_formula`.
        irreps_in: irreps of each index, from `index_irreps`.
        filter_ir_out: irreps to keep, by default all.
        filter_ir_mid: irreps that may occur in intermediate couplings and in the result, by default all.
        eps: numbers below this count as zero.
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
        # With all couplings, the eigenvalues are 0 and 1. Others belong to tensors that need filtered couplings.
        values, vectors = np.linalg.eigh((overlap + overlap.T) / 2)
        solutions = vectors[:, values > 1 - eps]
        for x in _orthonormal_rows(solutions @ solutions.T, eps):
            terms.append((1, ir))
            rows.append(np.tensordot(x, basis, axes=1))
    change = np.concatenate(rows) if rows else np.zeros((0, *shape))
    change.setflags(write=False)
    return ReducedTensor(irreps_in, Irreps(terms).simplify(), change)


def _symmetrized(tensors: Array, group: IndexGroup) -> Array:
    """Mean over the group, acting on all axes of (n, ...) but the first."""
    import numpy as np

    total = np.zeros_like(tensors)
    for s, p in group:
        total += s * tensors.transpose(0, *(1 + i for i in p))
    return total / len(group)


def _couplings(irreps_in: Sequence[Irreps], filter_ir_mid: Collection[Irrep] | None) -> list[tuple[Irrep, Array]]:
    """Orthonormal tensors (ir.dim, *dimensions) that couple the indices from left to right, sorted by irrep.

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
    """Gram-Schmidt. The first nonzero component of each result is positive."""
    import numpy as np

    found: list[Array] = []
    for x in vectors:
        for _ in range(2):  # the second pass removes the rounding errors of the first
            for y in found:
                x = x - (x @ y) * y
        length = np.linalg.norm(x)
        if length > 2 * eps:
            x = np.where(np.abs(x) < eps * length, 0.0, x / length)
            found.append(x * np.sign(x[np.flatnonzero(x)[0]]))
    return found

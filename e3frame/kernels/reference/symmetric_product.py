"""The symmetric product: weighted polynomials of the components of each channel."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from e3frame.algebra.symmetric_power import Indices
from e3frame.algebra.symmetric_product import SymmetricProductPlan
from e3frame.algebra.wigner import Array
from e3frame.kernels.constants import constant, known_to_compilers


def symmetric_product(x: Tensor, w: Tensor, index: Tensor | None, plan: SymmetricProductPlan) -> Tensor:
    """See `e3frame.kernels.symmetric_product`.

    The monomials of each degree are those of one degree less times one component. One matrix product gives all
    couplings of an irrep, which the weights of each row then sum.
    """
    own = w if index is None else w.index_select(0, index)
    channels, monomials, blocks = _channels(x, plan), x, _layout(plan)
    sums: list[list[Tensor]] = [[] for _ in blocks]
    for degree in range(1, plan.correlation + 1):
        longer = _factor(plan, degree, 1, dtype=torch.int64, device=x.device)
        factors = channels.index_select(1, longer)
        if degree > 1:
            shorter = _factor(plan, degree, 0, dtype=torch.int64, device=x.device)
            factors = monomials.index_select(1, shorter) * factors
        monomials = factors
        values: dict[int, Tensor] = {}
        for (like, dim, firsts, numbers), terms in zip(blocks, sums, strict=True):
            number = numbers[degree - 1]
            if number == 0:
                continue
            if like not in values:
                c = _coefficients(plan, degree, like, dtype=x.dtype, device=x.device)
                values[like] = (c.flatten(0, 1) @ monomials).unflatten(1, (dim, number))
            terms.append((values[like] * own.narrow(1, firsts[degree - 1], number).unsqueeze(1)).sum(2))
    outs = [torch.stack(terms).sum(0).mT.flatten(1) for terms in sums]
    return torch.cat(outs, dim=-1) if outs else x.new_zeros(x.shape[0], 0)


def _channels(x: Tensor, plan: SymmetricProductPlan) -> Tensor:
    """(n, irreps_in.dim) -> (n, components, channels)."""
    sizes = [mul_ir.dim for mul_ir in plan.irreps_in]
    parts = x.split(sizes, dim=-1)
    return torch.cat([part.unflatten(-1, (plan.mul, -1)) for part in parts], dim=-1).mT


@known_to_compilers
def _layout(plan: SymmetricProductPlan) -> list[tuple[int, int, list[int], tuple[int, ...]]]:
    """For each block the first block of its irrep, its dimension, its first coupling of each degree, their numbers."""
    irs = [block.ir for block in plan.blocks]
    firsts = [[block.first + sum(block.numbers[:n]) for n in range(plan.correlation)] for block in plan.blocks]
    return [(irs.index(b.ir), b.ir.dim, first, b.numbers) for b, first in zip(plan.blocks, firsts, strict=True)]


@cache
def _factor_of(plan: SymmetricProductPlan, degree: int, which: int) -> Indices:
    """Each monomial as a product: the number of the monomial of one degree less (0), the last component (1)."""
    return plan.monomials[degree - 1][:, -1] if which else plan.prefixes[degree - 2]


@cache
def _dense(plan: SymmetricProductPlan, degree: int, number: int) -> Array:
    """The coefficients of a block in one degree: (2L + 1, couplings, monomials)."""
    block = plan.blocks[number]
    entries = block.entries[degree - 1]
    matrix = np.zeros((block.ir.dim, block.numbers[degree - 1], len(plan.monomials[degree - 1])))
    first = sum(block.numbers[: degree - 1])
    matrix[entries.component, entries.coupling - first, entries.monomial] = entries.coefficient
    return matrix


_factor = constant(_factor_of, shared=True)
_coefficients = constant(_dense, shared=True)

"""Linear maps of irreps: one for all rows, one for each value of an index, or one for the attributes of each row."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from e3frame.algebra.interaction import SelfConnectionPlan
from e3frame.algebra.irreps import Irreps
from e3frame.algebra.linear import LinearPlan
from e3frame.algebra.plan import ProductPlan


def linear(x: Tensor, w: Tensor | None, b: Tensor | None, plan: LinearPlan) -> Tensor:
    """See `e3frame.kernels.linear`."""
    channels = () if plan.f_out is None else (plan.f_out,)
    lead = torch.broadcast_shapes(
        x.shape[: -1 - len(channels)],
        () if w is None else w.shape[: -len(plan.weight_shape)],
        () if b is None else b.shape[: -len(plan.bias_shape)],
    )
    xs = _parts(x, plan.irreps_in)
    equation = "...xui,...xyuw->...ywi" if channels else "...ui,...uw->...wi"
    terms: list[list[Tensor]] = [[] for _ in plan.irreps_out]
    begin = end = 0
    for ins in plan.instructions:
        if 0 in ins.path_shape:
            continue
        size = prod(ins.path_shape)
        if ins.i_in < 0:
            assert b is not None
            terms[ins.i_out].append(b.narrow(-1, end, size).expand(*lead, *channels, -1))
            end += size
        else:
            assert w is not None
            matrix = w.narrow(-1, begin, size).unflatten(-1, ins.path_shape)
            terms[ins.i_out].append(torch.einsum(equation, xs[ins.i_in], matrix * ins.path_weight).flatten(-2))
            begin += size
    return _assemble(terms, plan.irreps_out, x, (*lead, *channels))


def _parts(x: Tensor, irreps: Irreps) -> list[Tensor]:
    """The terms of x ``(..., irreps.dim)``, each ``(..., mul, 2l + 1)``."""
    parts = x.split([mul_ir.dim for mul_ir in irreps], dim=-1) if irreps else ()
    return [part.unflatten(-1, (m.mul, m.ir.dim)) for part, m in zip(parts, irreps, strict=True)]


def _assemble(terms: list[list[Tensor]], irreps: Irreps, like: Tensor, lead: tuple[int, ...]) -> Tensor:
    """The sums of the terms of each term of ``irreps``, side by side; zero where there is none."""
    outs = [
        torch.stack(sums).sum(0) if len(sums) > 1 else sums[0] if sums else like.new_zeros(*lead, m.dim)
        for sums, m in zip(terms, irreps, strict=True)
    ]
    return torch.cat(outs, dim=-1) if outs else like.new_zeros(*lead, 0)


def indexed_linear(x: Tensor, w: Tensor, index: Tensor, plan: ProductPlan) -> Tensor:
    """See `e3frame.kernels.indexed_linear`."""
    parts = _parts(x, plan.irreps_in1)
    terms: list[list[Tensor]] = [[] for _ in plan.irreps_out]
    for ins, where, c in plan.matrix_paths():
        weight = w[where].unflatten(0, ins.path_shape) * c
        terms[ins.i_out].append(_apply_rows(parts[ins.i_in1], weight, index))
    return _assemble(terms, plan.irreps_out, x, (x.shape[0],))


def _apply_rows(x: Tensor, weight: Tensor, index: Tensor) -> Tensor:
    """``(n, u, i), (u, s, w), (n,) -> (n, w i)``."""
    num_indices = weight.shape[1]
    if num_indices * x.shape[2] > x.shape[1]:
        # A matrix for each row is smaller than the result of every matrix for each row.
        return torch.einsum("zui,zuw->zwi", x, weight.transpose(0, 1).index_select(0, index)).flatten(1)
    every = torch.einsum("zui,usw->zswi", x, weight)
    # An index that is out of range is an error here; on the CPU the next line would read other memory.
    index = torch.arange(num_indices, device=index.device).index_select(0, index)
    return every.take_along_dim(index[:, None, None, None], dim=1).flatten(1)


def self_connection(
    x: Tensor, attributes: Tensor, w: Tensor, species: Tensor | None, plan: SelfConnectionPlan
) -> Tensor:
    """See `e3frame.kernels.self_connection`."""
    product = plan.product
    terms: list[list[Tensor]] = [[] for _ in product.irreps_out]
    parts = _parts(x, product.irreps_in1)
    for ins, where, c in product.matrix_paths():
        weight = w[where].unflatten(0, ins.path_shape)
        matrices = torch.einsum("nv,uvw->nuw", attributes * c, weight)
        terms[ins.i_out].append((matrices.mT @ parts[ins.i_in1]).flatten(1))
    return _assemble(terms, product.irreps_out, x, (x.shape[0],))

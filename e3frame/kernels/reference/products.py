"""Tensor products and convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import prod, sqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from e3frame.algebra import wigner
from e3frame.algebra.irreps import Irreps
from e3frame.algebra.plan import Instruction, ProductPlan
from e3frame.kernels.constants import constant, known_to_compilers

# For each mode: which copies are multiplied, the letters of the weights, and the letters of the result. Copies are
# multiplied all with all (uv), each with its partner (u), or in pairs u < v of one input (p).
_EQUATIONS = {
    "uvw": ("uv", "uvw", "w"),
    "uvu": ("uv", "uv", "u"),
    "uvv": ("uv", "uv", "v"),
    "uvuv": ("uv", "uv", "uv"),
    "uuw": ("u", "uw", "w"),
    "uuu": ("u", "u", "u"),
    "uvu<v": ("p", "p", "p"),
    "u<vw": ("p", "pw", "w"),
}


_wigner_3j = constant(wigner.wigner_3j, shared=True)


def product(x: Tensor, y: Tensor, w: Tensor | None, plan: ProductPlan) -> Tensor:
    """See `e3frame.kernels.product`."""
    shared = w is None or w.ndim == 1
    xs, ys, ws = _chunks(x, plan.irreps_in1), _chunks(y, plan.irreps_in2), _weights(w, plan)
    outs: list[Tensor | None] = [None] * len(plan.irreps_out)
    outers: dict[tuple[int, int, str], Tensor] = {}  # paths between the same terms share them
    for ins, weight in zip(plan.instructions, ws, strict=True):
        if 0 in ins.path_shape:
            continue
        out = _path(xs[ins.i_in1], ys[ins.i_in2], weight, ins, plan.degrees(ins), shared, outers).flatten(1)
        previous = outs[ins.i_out]
        outs[ins.i_out] = out if previous is None else previous + out
    return _assemble(outs, plan.irreps_out, x, x.shape[0])


def _chunks(x: Tensor, irreps: Irreps) -> list[Tensor]:
    parts = x.split([mul_ir.dim for mul_ir in irreps], dim=-1) if len(irreps) else ()
    return [part.reshape(x.shape[0], mul_ir.mul, mul_ir.ir.dim) for part, mul_ir in zip(parts, irreps, strict=True)]


def _weights(w: Tensor | None, plan: ProductPlan) -> Iterator[Tensor | None]:
    sizes = [prod(ins.path_shape) for ins in plan.instructions if ins.has_weight]
    parts = iter(w.split(sizes, dim=-1) if w is not None and sizes else ())
    for ins in plan.instructions:
        yield next(parts).unflatten(-1, ins.path_shape) if ins.has_weight else None


def _assemble(outs: list[Tensor | None], irreps: Irreps, like: Tensor, rows: int) -> Tensor:
    """Concatenate the terms of ``irreps``; a term that no path reaches is zero."""
    if not outs:
        return like.new_zeros(rows, 0)
    return torch.cat(
        [like.new_zeros(rows, m.dim) if out is None else out for out, m in zip(outs, irreps, strict=True)], dim=-1
    )


def _path(
    x: Tensor,
    y: Tensor,
    w: Tensor | None,
    ins: Instruction,
    degrees: tuple[int, int, int],
    shared: bool,
    outers: dict[tuple[int, int, str], Tensor],
) -> Tensor:
    copies, weights, left = _EQUATIONS[ins.connection_mode]
    if left == "w" and copies == "uv" and w is not None and shared:
        return _mix_all(x, y, w, degrees, ins.path_weight)
    if copies == "uv":
        z = _multiply_all(x, y, degrees, ins.path_weight)
    else:
        if copies == "p":
            u, v = torch.triu_indices(x.shape[1], x.shape[1], offset=1, device=x.device)
            x, y = x[:, u], y[:, v]
        z = _multiply_aligned(x, y, degrees, ins.path_weight, outers, (ins.i_in1, ins.i_in2, copies))
    if w is None:
        return z if copies == left else torch.einsum(f"z{copies}k->z{left.replace('w', '')}k", z)
    return torch.einsum(f"z{copies}k,{'' if shared else 'z'}{weights}->z{left}k", z, w)


def _mix_all(x: Tensor, y: Tensor, w: Tensor, degrees: tuple[int, int, int], scale: float) -> Tensor:
    """``(z,u,i), (z,v,j), (u,v,w) -> (z,w,k)``, in the order with the fewest multiplications."""
    l1, l2, l3 = degrees
    u, v, num_out = w.shape
    dtype = torch.promote_types(x.dtype, y.dtype)
    x, y = x.to(dtype), y.to(dtype)
    if l2 == 0 and num_out < v * (2 * l3 + 1) and l3 > 0:  # the matrix of each row
        matrices = (y.squeeze(-1) * (scale / sqrt(2 * l3 + 1))) @ w.transpose(0, 1).flatten(1)
        return matrices.unflatten(-1, (u, num_out)).mT @ x
    if l1 == 0 and num_out < u * (2 * l3 + 1) and l3 > 0:
        matrices = (x.squeeze(-1) * (scale / sqrt(2 * l3 + 1))) @ w.flatten(1)
        return matrices.unflatten(-1, (v, num_out)).mT @ y
    c = _wigner_3j(l1, l2, l3, dtype=x.dtype, device=x.device) * scale
    operators = (y @ c.permute(1, 2, 0).flatten(1)).unflatten(-1, (2 * l3 + 1, 2 * l1 + 1))
    products = operators.transpose(1, 2).flatten(1, 2) @ x.mT  # (z, k v, u)
    mixed = products.reshape(-1, v * u) @ w.transpose(0, 1).flatten(0, 1)
    return mixed.view(x.shape[0], 2 * l3 + 1, num_out).mT


def _multiply_all(x: Tensor, y: Tensor, degrees: tuple[int, int, int], scale: float) -> Tensor:
    """``(z,u,i), (z,v,j) -> (z,u,v,k)``."""
    l1, l2, l3 = degrees
    if l1 == 0 or l2 == 0:
        return x.unsqueeze(2) * (y * (scale / sqrt(2 * l3 + 1))).unsqueeze(1)
    if l3 == 0:
        return (x @ (y * (scale / sqrt(2 * l1 + 1))).mT).unsqueeze(-1)
    c = _wigner_3j(l1, l2, l3, dtype=x.dtype, device=x.device) * scale
    operators = (y @ c.transpose(0, 1).flatten(1)).unflatten(-1, (2 * l1 + 1, 2 * l3 + 1))
    return (x @ operators.transpose(1, 2).flatten(2)).unflatten(-1, (y.shape[1], 2 * l3 + 1))


def _multiply_aligned(
    x: Tensor,
    y: Tensor,
    degrees: tuple[int, int, int],
    scale: float,
    outers: dict[tuple[int, int, str], Tensor],
    terms: tuple[int, int, str],
) -> Tensor:
    """``(z,u,i), (z,u,j) -> (z,u,k)``."""
    l1, l2, l3 = degrees
    if l1 == 0 or l2 == 0:
        return x * y * (scale / sqrt(2 * l3 + 1))
    if l3 == 0:
        return (x * y).sum(-1, keepdim=True) * (scale / sqrt(2 * l1 + 1))
    c = _wigner_3j(l1, l2, l3, dtype=x.dtype, device=x.device) * scale
    if terms not in outers:
        outers[terms] = (x.unsqueeze(-1) * y.unsqueeze(-2)).flatten(-2)
    return outers[terms] @ c.flatten(0, 1)


def convolution(
    x: Tensor, edge_index: Tensor, y: Tensor, w: Tensor, num_nodes: int, rows: Tensor | None, plan: ProductPlan
) -> Tensor:
    """See `e3frame.kernels.convolution`."""
    if rows is not None and w.ndim == 2:
        w = w.index_select(0, rows)
    usual = all(ins.has_weight and plan.irreps_in2[ins.i_in2].mul == 1 for ins in plan.instructions)
    if usual and w.ndim == 2:
        return _convolve_blocks(x, edge_index, y, w, num_nodes, plan)
    messages = product(x.index_select(0, edge_index[0]), y, w if plan.weight_numel else None, plan)
    return x.new_zeros(num_nodes, plan.irreps_out.dim).index_add(0, edge_index[1], messages)


def _convolve_blocks(x: Tensor, edge_index: Tensor, y: Tensor, w: Tensor, num_nodes: int, plan: ProductPlan) -> Tensor:
    """Convolve with weights for each edge and harmonics of multiplicity 1.

    One matrix product turns y into an operator for each edge and each term of in1, which holds all paths from that
    term. Between gather and scatter the copies of an irrep are the last axis, and no temporary holds all paths: large
    temporaries take longer to allocate than to compute.
    """
    sources, targets = edge_index[0], edge_index[1]
    edges = y.shape[0]
    blocks, weight_sizes, out_sizes = _layout(plan)
    operators = y @ _couplings(plan, dtype=x.dtype, device=x.device)
    operators = operators.split([block.dim * sum(block.out_dims) for block in blocks], dim=-1)
    chunks = x.split([block.mul * block.dim for block in blocks], dim=-1)
    weights = w.unsqueeze(1).split(weight_sizes, dim=-1)
    outs: list[Tensor | None] = [None] * len(out_sizes)
    for chunk, operator, (mul, dim, paths, out_dims, i_outs) in zip(chunks, operators, blocks, strict=True):
        if not paths or mul == 0:
            continue
        sent = chunk.unflatten(-1, (mul, dim)).mT.contiguous().index_select(0, sources)
        operator = operator.reshape(edges, sum(out_dims), dim)
        if dim == 1:
            messages = [o * (sent * weights[n]) for n, o in zip(paths, operator.split(out_dims, dim=1), strict=True)]
        else:
            products = torch.bmm(operator, sent).split(out_dims, dim=1)
            messages = [z * weights[n] for n, z in zip(paths, products, strict=True)]
        for message, k, i_out in zip(messages, out_dims, i_outs, strict=True):
            # A flat row makes the scatter a plain addition of vectors.
            received = x.new_zeros(num_nodes, k * mul).index_add(0, targets, message.flatten(1))
            received = received.view(num_nodes, k, mul).mT.reshape(num_nodes, mul * k)
            previous = outs[i_out]
            outs[i_out] = received if previous is None else previous + received
    terms = [x.new_zeros(num_nodes, n) if out is None else out for out, n in zip(outs, out_sizes, strict=True)]
    return torch.cat(terms, dim=-1)


class _Block(NamedTuple):
    """A term of in1 and the paths from it."""

    mul: int
    dim: int
    paths: list[int]
    out_dims: list[int]
    i_outs: list[int]


@known_to_compilers
def _layout(plan: ProductPlan) -> tuple[list[_Block], list[int], list[int]]:
    """Return the blocks, the size of the weights of each path, and the size of each term of the output.

    Compilers treat the numbers of a plan as variables, unless a module holds the plan; these they treat as constants.
    """
    blocks = []
    for i, (mul, ir) in enumerate(plan.irreps_in1):
        paths = [n for n, ins in enumerate(plan.instructions) if ins.i_in1 == i]
        i_outs = [plan.instructions[n].i_out for n in paths]
        blocks.append(_Block(mul, ir.dim, paths, [plan.irreps_out[i_out].ir.dim for i_out in i_outs], i_outs))
    return blocks, [ins.path_shape[0] for ins in plan.instructions], [mul_ir.dim for mul_ir in plan.irreps_out]


@cache
def _coupling_matrix(plan: ProductPlan) -> np.ndarray:
    """Return the matrix ``(irreps_in2.dim, Σ_blocks k d)`` from y to the operators ``c C_jki`` of all paths."""
    rows = plan.irreps_in2.slices()
    blocks = []
    for _, dim, paths, out_dims, _ in _layout(plan)[0]:
        block = np.zeros((plan.irreps_in2.dim, sum(out_dims), dim))
        start = 0
        for n in paths:
            ins = plan.instructions[n]
            l1, l2, l3 = plan.degrees(ins)
            c = ins.path_weight * wigner.wigner_3j(l1, l2, l3)
            block[rows[ins.i_in2], start : start + 2 * l3 + 1] = c.transpose(1, 2, 0)
            start += 2 * l3 + 1
        blocks.append(block.reshape(plan.irreps_in2.dim, -1))
    return np.concatenate(blocks, axis=1)


_couplings = constant(_coupling_matrix, shared=True)

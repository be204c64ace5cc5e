"""Linear maps of irreps, with one set of weights or one for each value of an index.

``L(x, w, o) = Σ_n Σ_path c Σ_uvi x[n,u,i] w[s(n),u,v] o[n,v,i]``: the map, its transpose and the gradient of the
weights are the partial derivatives of L, and so are all further derivatives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ctypes import byref
from functools import lru_cache
from math import prod

import torch
from torch import Tensor

from e3frame.algebra.interaction import SelfConnectionPlan
from e3frame.algebra.irreps import Irreps
from e3frame.algebra.linear import LinearPlan
from e3frame.algebra.plan import ProductPlan
from e3frame.kernels.backends import kept_with_plans
from e3frame.kernels.native import groups, library
from e3frame.kernels.native.operators import Operator, Values
from e3frame.kernels.native.plans import terms


def write_linear(
    irreps_in: Irreps, irreps_out: Irreps, num_indices: int, paths: Iterable[tuple[int, int, int, int, int, float]]
) -> str:
    """Write linear maps as text.

    Args:
        paths: (i_in, i_out, where its weights begin, step to the next index, step to the next u, factor c).
    """
    written = (f"{' '.join(map(str, numbers))} {c.hex()}" for *numbers, c in paths)
    return "|".join([str(irreps_in), str(irreps_out), str(num_indices), *written])


@kept_with_plans
def text_of(plan: LinearPlan) -> str:
    """Write a linear map as text, without its biases."""
    paths, begin = [], 0
    for ins in (ins for ins in plan.instructions if ins.i_in >= 0):
        paths.append((ins.i_in, ins.i_out, begin, 0, ins.path_shape[1], ins.path_weight))
        begin += prod(ins.path_shape)
    return write_linear(plan.irreps_in, plan.irreps_out, 1, paths)


@kept_with_plans
def indexed_text_of(plan: ProductPlan) -> str:
    """Write linear maps as text, one for each even scalar of in2."""
    paths = [
        # The weights of a path are (u, index, w).
        (ins.i_in1, ins.i_out, where.start, ins.path_shape[2], prod(ins.path_shape[1:]), c)
        for ins, where, c in plan.matrix_paths()
    ]
    return write_linear(plan.irreps_in1, plan.irreps_out, plan.irreps_in2.dim, paths)


@kept_with_plans
def self_connection_texts_of(plan: SelfConnectionPlan) -> tuple[str, str]:
    """Write a linear map of a that gives the matrices Σ_v W_uvw a_v of all paths, and linear maps of x, one for each
    species, whose weights they are."""
    product = plan.product
    rows: list[tuple[int, tuple[int, int]]] = []
    matrices, maps, begin = [], [], 0
    size = sum(ins.path_shape[0] * ins.path_shape[2] for ins, _, _ in product.matrix_paths())
    for ins, where, c in product.matrix_paths():
        mul_u, mul_v, mul_w = ins.path_shape
        maps.append((ins.i_in1, ins.i_out, begin, size, mul_w, c))
        begin += mul_u * mul_w
        for u in range(mul_u):
            matrices.append((0, len(rows), where.start + u * mul_v * mul_w, 0, mul_w, 1.0))
            rows.append((mul_w, (0, 1)))
    assert plan.num_species is not None
    return (
        write_linear(product.irreps_in2, Irreps(rows), 1, matrices),
        write_linear(product.irreps_in1, product.irreps_out, plan.num_species, maps),
    )


@kept_with_plans
def _places_of_biases(plan: LinearPlan) -> list[tuple[int, int]]:
    """For each term of the output: where its biases begin, or -1 if it has none, and its size."""
    places, begin = [(-1, mul_ir.dim) for mul_ir in plan.irreps_out], 0
    for ins in (ins for ins in plan.instructions if ins.i_in < 0):
        places[ins.i_out] = (begin, ins.path_shape[0])
        begin += ins.path_shape[0]
    return places


def spread_biases(b: Tensor, plan: LinearPlan) -> Tensor:
    """Put biases at their places in the output, zero elsewhere: ``(bias_numel,) -> (irreps_out.dim,)``."""
    return torch.cat([b.new_zeros(n) if begin < 0 else b.narrow(0, begin, n) for begin, n in _places_of_biases(plan)])


@lru_cache(maxsize=1024)
def _compiled(text: str) -> tuple[library.Linear, int, int, int]:
    """Return the structure for the library, the sizes of x and of the result, and the least number of weights."""
    irreps_in, irreps_out, num_indices, *written = text.split("|")
    paths = []
    for path in written:
        *numbers, c = path.split()
        paths.append(library.Map(*map(int, numbers), float.fromhex(c)))
    own, out = Irreps(irreps_in), Irreps(irreps_out)
    for p in paths:
        fits = 0 <= p.i_in < len(own) and 0 <= p.i_out < len(out) and own[p.i_in].ir == out[p.i_out].ir
        library.require(fits and min(p.weight, p.index_step, p.row_step) >= 0, "a linear map", text)
    library.require(int(num_indices) > 0, "a linear map", text)
    struct = library.Linear(
        *(len(own), len(out), len(paths), int(num_indices)),
        library.array(library.Term, terms(own)),
        library.array(library.Term, terms(out)),
        library.array(library.Map, paths),
    )
    last = int(num_indices) - 1
    ends = [
        p.weight + last * p.index_step + (own[p.i_in].mul - 1) * p.row_step + out[p.i_out].mul
        for p in paths
        if own[p.i_in].mul and out[p.i_out].mul
    ]
    return struct, own.dim, out.dim, max(ends, default=0)


def _rows(x: Tensor, index: Tensor | None, struct: library.Linear) -> library.Rows:
    if index is None:
        return library.Rows(x.shape[0], None, None)
    if index.shape != x.shape[:1]:
        raise ValueError(f"index must have one entry for each of {x.shape[0]} rows, got shape {tuple(index.shape)}")
    return groups.rows(index, struct.num_indices)


def _check(x: Tensor, dim: int, other: Tensor) -> None:
    if x.ndim != 2 or x.shape[1] != dim:
        raise ValueError(f"x must have shape (n, {dim}), got {tuple(x.shape)}")
    if x.dtype != other.dtype:
        raise ValueError(f"a linear map needs tensors of one type, got {x.dtype} and {other.dtype}")


def _fake(x: Tensor, w: Tensor, index: Tensor | None, text: str, transposed: bool) -> Tensor:
    _, dim_in, dim_out, _ = _compiled(text)
    return x.new_empty(x.shape[0], dim_in if transposed else dim_out)


def _linear(x: Tensor, w: Tensor, index: Tensor | None, text: str, transposed: bool) -> Tensor:
    struct, dim_in, dim_out, numel = _compiled(text)
    _check(x, dim_out if transposed else dim_in, w)
    if w.numel() < numel:
        raise ValueError(f"w must have {numel} elements, got shape {tuple(w.shape)}")
    x, w, out = x.contiguous(), w.contiguous(), x.new_empty(x.shape[0], dim_in if transposed else dim_out)
    run, rows = library.kernels(x.dtype).linear, _rows(x, index, struct)
    pointers = (x.data_ptr(), w.data_ptr(), out.data_ptr())
    library.check(run(byref(struct), byref(rows), *pointers, transposed, library.threads()))
    return out


def _weights_fake(x: Tensor, o: Tensor, index: Tensor | None, text: str, numel: int) -> Tensor:
    return x.new_empty(numel)


def _weights(x: Tensor, o: Tensor, index: Tensor | None, text: str, numel: int) -> Tensor:
    struct, dim_in, dim_out, least = _compiled(text)
    _check(x, dim_in, o)
    _check(o, dim_out, x)
    if numel < least or o.shape[0] != x.shape[0]:
        raise ValueError(
            f"x and o must have equally many rows, and w {least} elements; got {x.shape[0]}, {o.shape[0]} and {numel}"
        )
    # The kernel does not write gradients of weights that no path reads.
    x, o, gw = x.contiguous(), o.contiguous(), x.new_zeros(numel)
    run, rows = library.kernels(x.dtype).linear_weights, _rows(x, index, struct)
    pointers = (x.data_ptr(), o.data_ptr(), gw.data_ptr())
    library.check(run(byref(struct), byref(rows), *pointers, library.threads()))
    return gw


def _derivative(needs: Sequence[bool], inputs: Values, cotangents: Values) -> Values:
    x, w, index, text, transposed = inputs
    (o,) = cotangents
    gx = linear(o, w, index, text, not transposed) if needs[0] else None
    first, second = (o, x) if transposed else (x, o)
    gw = linear_weights(first, second, index, text, w.numel()).view_as(w) if needs[1] else None
    return gx, gw, None, None, None


def _weights_derivative(needs: Sequence[bool], inputs: Values, cotangents: Values) -> Values:
    x, o, index, text, _ = inputs
    (gw,) = cotangents
    gx = linear(o, gw, index, text, True) if needs[0] else None
    go = linear(x, gw, index, text, False) if needs[1] else None
    return gx, go, None, None, None


linear = Operator(
    "linear", "(Tensor x, Tensor w, Tensor? index, str text, bool transposed) -> Tensor", _linear, _fake, _derivative
)
"""``linear(x, w, index, text, transposed)``: x ``(n, dim)`` times the matrices in w, or their transposes."""
linear_weights = Operator(
    "linear_weights",
    "(Tensor x, Tensor o, Tensor? index, str text, int numel) -> Tensor",
    _weights,
    _weights_fake,
    _weights_derivative,
)
"""``linear_weights(x, o, index, text, numel)``: the gradient by w of ``linear(x, w, ...)``, given o."""

"""Linear maps of irreps, with one set of weights or one for each value of an index.

``L(x, w, o) = Σ_n Σ_path c Σ_uvi x[n,u,i] w[s(n),u,v] o[n,v,i]``: the map, its transpose and the gradient of the
weights are the partial derivatives of L, and so are all further derivatives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ctypes import byref
from functools import lru_cache

from torch import Tensor

from e3frame.algebra.irreps import Irreps
from e3frame.kernels.native import groups, library
from e3frame.kernels.native.operators import Operator
from e3frame.kernels.native.plans import terms


def write_linear(
    irreps_in: Irreps, irreps_out: Irreps, num_indices: int, paths: Iterable[tuple[int, int, int, int, int, float]]
) -> str:
    """Linear maps as text.

    Args:
        paths: (i_in, i_out, where its weights begin, step to the next index, step to the next u, factor c).
    """
    written = (f"{' '.join(map(str, numbers))} {c.hex()}" for *numbers, c in paths)
    return "|".join([str(irreps_in), str(irreps_out), str(num_indices), *written])


@lru_cache(maxsize=1024)
def _compiled(text: str) -> tuple[library.Linear, int, int, int]:
    """What the library reads, the sizes of x and of the result, and how many weights there must be."""
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
        return library.Rows(len(x), None, None)
    if index.shape != x.shape[:1]:
        raise ValueError(f"index must have one entry for each of {len(x)} rows, got shape {tuple(index.shape)}")
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
    x, w, out = x.contiguous(), w.contiguous(), x.new_empty(len(x), dim_in if transposed else dim_out)
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
    if numel < least or len(o) != len(x):
        raise ValueError(f"x and o need equally many rows, and w {least} elements, got {len(x)}, {len(o)} and {numel}")
    # Weights that no path reads are not written.
    x, o, gw = x.contiguous(), o.contiguous(), x.new_zeros(numel)
    run, rows = library.kernels(x.dtype).linear_weights, _rows(x, index, struct)
    pointers = (x.data_ptr(), o.data_ptr(), gw.data_ptr())
    library.check(run(byref(struct), byref(rows), *pointers, library.threads()))
    return gw


def _derivative(needs: Sequence[bool], inputs: tuple, cotangents: tuple) -> tuple:
    x, w, index, text, transposed = inputs
    (o,) = cotangents
    gx = linear(o, w, index, text, not transposed) if needs[0] else None
    first, second = (o, x) if transposed else (x, o)
    gw = linear_weights(first, second, index, text, w.numel()).view_as(w) if needs[1] else None
    return gx, gw, None, None, None


def _weights_derivative(needs: Sequence[bool], inputs: tuple, cotangents: tuple) -> tuple:
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

"""Edge vectors ``x[source] - x[target] + shift``, and the transposed map, from gradients of edges to those of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import byref

import torch
from torch import Tensor

from e3frame.kernels.native import groups, library
from e3frame.kernels.native.operators import Operator, Values


def _check(name: str, tensor: Tensor, rows: int, dtype: torch.dtype) -> None:
    if tensor.shape != (rows, 3) or tensor.dtype != dtype:
        given = f"{tensor.dtype} of shape {tuple(tensor.shape)}"
        raise ValueError(f"{name} must be {dtype} of shape ({rows}, 3), got {given}")


def _differences(x: Tensor, edge_index: Tensor, shift: Tensor | None) -> Tensor:
    _check("x", x, x.shape[0], x.dtype)
    edges = groups.edges(edge_index, x.shape[0], x.shape[0])
    if shift is not None:
        _check("shift", shift, edges.num_edges, x.dtype)
        shift = shift.contiguous()
    x, out = x.contiguous(), x.new_empty(edges.num_edges, 3)
    pointers = (x.data_ptr(), None if shift is None else shift.data_ptr(), out.data_ptr())
    library.check(library.kernels(x.dtype).differences(byref(edges), *pointers, library.threads()))
    return out


def _transposed(o: Tensor, edge_index: Tensor, num_nodes: int) -> Tensor:
    edges = groups.edges(edge_index, num_nodes, num_nodes)
    _check("o", o, edges.num_edges, o.dtype)
    o, out = o.contiguous(), o.new_empty(num_nodes, 3)
    run = library.kernels(o.dtype).differences_transposed
    library.check(run(byref(edges), o.data_ptr(), out.data_ptr(), library.threads()))
    return out


def _derivative(needs: Sequence[bool], inputs: Values, cotangents: Values) -> Values:
    x, edge_index, _ = inputs
    (o,) = cotangents
    return differences_transposed(o, edge_index, x.shape[0]) if needs[0] else None, None, o if needs[2] else None


def _transposed_derivative(needs: Sequence[bool], inputs: Values, cotangents: Values) -> Values:
    return differences(cotangents[0], inputs[1], None), None, None


differences = Operator(
    "differences",
    "(Tensor x, Tensor edge_index, Tensor? shift) -> Tensor",
    _differences,
    lambda x, edge_index, shift: x.new_empty(edge_index.shape[1], 3),
    _derivative,
)
"""``differences(x, edge_index, shift)``: (n, 3), (2, e), (e, 3) -> (e, 3)."""
differences_transposed = Operator(
    "differences_transposed",
    "(Tensor o, Tensor edge_index, SymInt num_nodes) -> Tensor",
    _transposed,
    lambda o, edge_index, num_nodes: o.new_empty(num_nodes, 3),
    _transposed_derivative,
)
"""``differences_transposed(o, edge_index, num_nodes)``: (e, 3) -> (n, 3)."""

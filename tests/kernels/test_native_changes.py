"""Indices and shifts whose numbers change, whoever changes them, are read again: by every function that keeps what it
found of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from support.native import PLANS, graph, needs_native
from torch import Tensor

from e3frame import kernels, nn, o3
from e3frame.kernels import reference
from e3frame.kernels.native import groups

pytestmark = needs_native

NODES = 5
CONV, X, EDGES, Y, W = (lambda plan: (plan, *graph(plan, 23, NODES, NODES)))(PLANS["several_into_one"])
SPECIES = torch.tensor([0, 2, 1, 1, 0])
ROWS = torch.arange(23) // 2


def _write(memory: np.ndarray, numbers: Tensor) -> None:
    memory[...] = numbers.numpy()


def _write_shared(t: Tensor, numbers: Tensor) -> None:
    other = torch.empty(0, dtype=t.dtype).set_(t.untyped_storage(), 0, t.shape, t.stride())
    other.copy_(numbers)


def _write_data(t: Tensor, numbers: Tensor) -> None:
    t.data.copy_(numbers)


WRITERS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "NumPy": lambda t, numbers: _write(t.numpy(), numbers),
    "DLPack": lambda t, numbers: _write(np.from_dlpack(t), numbers),
    "a tensor of the same memory": _write_shared,
    "data": _write_data,
    "other data": lambda t, numbers: setattr(t, "data", numbers.clone()),
    "torch": lambda t, numbers: t.copy_(numbers),
    "set": lambda t, numbers: t.set_(numbers.clone()),
}


def indexed_linear() -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], Tensor, Tensor]:
    module, x = o3.IndexedLinear("2x0e + 1x1o", "3x0e + 2x1o", 3).double(), torch.randn(NODES, 5).double()
    return lambda s: module(x, s), lambda s: _plain(lambda: module(x, s)), SPECIES, 2 - SPECIES


def self_connection() -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], Tensor, Tensor]:
    module, x = nn.SelfConnection("2x0e + 1x1o", "3x0e", "3x0e + 2x1o", 3).double(), torch.randn(NODES, 5).double()
    table = torch.randn(3, 3).double()
    return (
        lambda s: module(x, table[s], s),
        lambda s: _plain(lambda: module(x, table[s], s)),
        SPECIES,
        2 - SPECIES,
    )


def symmetric_product() -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], Tensor, Tensor]:
    module, x = o3.SymmetricProduct("2x0e + 2x1o", "2x0e", 3, 3).double(), torch.randn(NODES, 8).double()
    return lambda s: module(x, s), lambda s: _plain(lambda: module(x, s)), SPECIES, 2 - SPECIES


def _plain(call: Callable[[], Tensor]) -> Tensor:
    with kernels.use("reference"):
        return call()


def paired(index: Tensor, shift: Tensor) -> Tensor:
    """Which edges share a row, as a matrix: how rows are numbered does not matter."""
    rows, edges = kernels.pairs(index, shift, NODES)
    assert torch.equal(rows[edges], torch.arange(len(edges)))
    return rows[:, None] == rows[None, :]


def expected_pairs(index: Tensor, shift: Tensor) -> Tensor:
    """Edges in no order with at most one reverse each."""
    turned = (index[:, :, None] == index.flip(0)[:, None, :]).all(0)
    opposite = (shift[:, None, :] == -shift[None, :, :]).all(-1)
    return (turned & opposite) | torch.eye(len(shift), dtype=torch.bool)


RING = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
SHIFTS = torch.zeros(6, 3, dtype=torch.float64)
OTHER_SHIFTS = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [-2, 0, 0], [0, 0, 3], [0, 0, 0]]).double()


def cases() -> dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], Tensor, Tensor]]:
    """Of a tensor: the function, what it must give, the tensor, and other numbers for it."""
    pos, w = torch.randn(NODES, 3).double(), W[:12]
    turned = NODES - 1 - EDGES
    return {
        "convolution": (
            lambda e: kernels.convolution(X, e, Y, W, CONV, NODES),
            lambda e: reference.convolution(X, e, Y, W, NODES, None, CONV),
            EDGES,
            turned,
        ),
        "rows of weights": (
            lambda r: kernels.convolution(X, EDGES, Y, w, CONV, NODES, r),
            lambda r: reference.convolution(X, EDGES, Y, w[r], NODES, None, CONV),
            ROWS,
            11 - ROWS,
        ),
        "differences": (
            lambda e: kernels.edge_vectors(pos, e, None),
            lambda e: reference.edge_vectors(pos, e, None),
            EDGES,
            turned,
        ),
        "first rows": (
            lambda s: s[groups.first(s, 3)],
            lambda s: torch.arange(3),
            SPECIES,
            torch.tensor([2, 2, 2, 1, 0]),
        ),
        "indexed linear": indexed_linear(),
        "self connection": self_connection(),
        "symmetric product": symmetric_product(),
        "pairs by edges": (
            lambda e: paired(e, SHIFTS),
            lambda e: expected_pairs(e, SHIFTS),
            RING,
            torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 3, 1, 2]]),
        ),
        "pairs by shifts": (
            lambda s: paired(RING, s),
            lambda s: expected_pairs(RING, s),
            SHIFTS,
            OTHER_SHIFTS,
        ),
    }


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", cases() if needs_native.args[0] is False else [])
def test_numbers_that_change_are_read_again(name: str, writer: str) -> None:
    torch.manual_seed(0)
    own, expected, first, second = cases()[name]
    tensor = first.clone()
    for numbers in (first, second, first):
        WRITERS[writer](tensor, numbers)
        for _ in range(2):
            torch.testing.assert_close(own(tensor), expected(numbers), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", cases() if needs_native.args[0] is False else [])
def test_numbers_of_inference_that_change(name: str) -> None:
    torch.manual_seed(0)
    own, expected, first, second = cases()[name]
    with torch.inference_mode():
        tensor = first.clone()
        for numbers in (first, second):
            tensor.copy_(numbers)
            torch.testing.assert_close(own(tensor), expected(numbers), rtol=1e-10, atol=1e-10)


def test_derivatives_read_the_graph_of_now() -> None:
    """As those in plain torch do, when an index is written to behind torch's back."""
    found = []
    for backend in ("native", "reference"):
        edges, x = EDGES.clone(), X.clone().requires_grad_()
        with kernels.use(backend):
            out = kernels.convolution(x, edges, Y, W, CONV, NODES)
        edges.numpy()[...] = (NODES - 1 - EDGES).numpy()
        found.append(torch.autograd.grad(out.square().sum(), x)[0])
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)


def test_wrong_numbers_of_nodes() -> None:
    nothing = torch.zeros(2, 0, dtype=torch.int64)
    for call in (
        lambda: kernels.pairs(nothing, torch.zeros(0, 3), -1),
        lambda: groups.first(nothing[0], -2),
        lambda: torch.ops.e3frame.differences_transposed(torch.zeros(0, 3), nothing, -1),
    ):
        with pytest.raises(ValueError, match="the number of nodes or indices must not be negative, got -"):
            call()
    with pytest.raises(RuntimeError, match="negative dimension -1"):
        kernels.convolution(X[:0], nothing, Y[:0], W[:0], CONV, -1)

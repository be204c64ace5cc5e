"""Cases for the native kernels: plans, graphs, and derivatives of all orders to compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor

from e3frame.algebra.paths import plan_convolution, plan_explicit
from e3frame.algebra.plan import ProductPlan
from e3frame.kernels.native import library

needs_native = pytest.mark.skipif(library.load() is None, reason=library.status())
AVAILABLE = range(library.load().e3_best_isa() + 1) if library.load() is not None else range(0)
"""Instruction sets of this processor."""

PLANS = {
    "tails": plan_convolution("33x0e + 17x1o + 3x2e + 1x1e", "0e + 1o + 2e", "0e + 1o + 2e"),
    "parities": plan_convolution("2x0o + 3x1e + 1x2o + 2x1o", "0o + 1e + 2o + 1o"),
    "l4": plan_convolution("3x3o + 2x4e + 1x0e", "0e + 1o + 3o + 4e", "0e + 1e + 3o + 4e + 4o"),
    "l6": plan_convolution("2x6e + 1x0o", "0e + 5o + 6e", "0o + 1o + 6e + 5o"),
    "copies_of_y": plan_explicit(
        "3x0e + 2x1o",
        "2x0e + 3x1o",
        "3x1o + 2x0e + 2x1e + 2x1o",
        [(0, 1, 0, "uvu", True), (1, 1, 1, "uvu", True), (1, 1, 2, "uvu", False), (1, 0, 3, "uvu", True)],
    ),
    "several_into_one": plan_explicit(
        "2x1o + 2x2e", "1o + 0e", "2x1o + 2x0e", [(0, 1, 0, "uvu", True), (1, 0, 0, "uvu", True)]
    ),
    "unweighted": plan_explicit(
        "5x0e + 17x1o", "0e + 1o", "5x1o + 17x0e", [(0, 1, 0, "uvu", False), (1, 1, 1, "uvu", False)]
    ),
    "no_copies": plan_convolution("0x0e + 2x1o", "0e + 1o", "0e + 1o + 0o"),
}


def graph(
    plan: ProductPlan,
    edges: int = 23,
    sources: int = 6,
    targets: int = 5,
    *,
    shared: bool = False,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, edge_index, y, w: edges in no order, some twice, some from a node to itself; the last nodes have none."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64).to(dtype)

    ends = [torch.randint(max(n - 1, 1), (edges,), generator=random) for n in (sources, targets)]
    edge_index = torch.stack(ends)
    if edges > 3 and min(sources, targets) > 1:
        edge_index[:, 1] = edge_index[:, 0]
        edge_index[:, 2] = 0
    w = normal(plan.weight_numel) if shared else normal(edges, plan.weight_numel)
    return normal(sources, plan.irreps_in1.dim), edge_index, normal(edges, plan.irreps_in2.dim), w


def large_graph(
    plan: ProductPlan, local: bool, dtype: torch.dtype = torch.float64, shared: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """3,000 nodes with edges between neighbours in the order of the nodes, as a batch of molecules has them, or between
    any; kernels treat the two in different ways."""
    nodes, edges = 3000, 7000
    x, edge_index, y, w = graph(plan, edges, nodes, nodes, dtype=dtype, shared=shared)
    if local:
        edge_index[0] = (edge_index[1] + edge_index[0] % 40 - 20).clamp(0, nodes - 1)
    return x, edge_index, y, w


def derivatives(call: Callable[..., Tensor], inputs: Sequence[Tensor], order: int, seed: int = 1) -> Iterator[Tensor]:
    """f and, order by order, the gradients by all inputs of a random sum of the order before; the random cotangent
    of f is one of the inputs."""
    random = torch.Generator().manual_seed(seed)

    def like(t: Tensor) -> Tensor:
        return torch.randn(t.shape, generator=random, dtype=torch.float64).to(t.dtype)

    inputs = [t.detach().clone().requires_grad_() for t in inputs]
    out = call(*inputs)
    yield out
    cotangent = like(out).requires_grad_()
    variables = (*inputs, cotangent)
    total = (out * cotangent).sum()
    for _ in range(order):
        if not total.requires_grad:
            return
        gradients = torch.autograd.grad(total, variables, create_graph=True, materialize_grads=True)
        yield from gradients
        total = sum(((g * like(g)).sum() for g in gradients), start=total * 0)


def assert_same(
    native: Callable[..., Tensor],
    expected: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    order: int = 3,
    rtol: float = 1e-10,
) -> None:
    """Equal values and derivatives, each relative to the largest element of its tensor."""
    pairs = list(zip(derivatives(native, inputs, order), derivatives(expected, inputs, order), strict=True))
    assert len(pairs) > order
    for n, (own, other) in enumerate(pairs):
        assert own.shape == other.shape
        scale = max(float(other.detach().abs().max()), 1.0) if other.numel() else 1.0
        torch.testing.assert_close(
            own, other, atol=rtol * scale, rtol=0, msg=lambda message, n=n: f"tensor {n}: {message}"
        )

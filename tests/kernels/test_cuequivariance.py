"""The mapping of our plans onto cuequivariance, by its method that runs on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch

from e3frame import kernels
from e3frame.algebra.paths import (
    plan_convolution,
    plan_elementwise,
    plan_explicit,
    plan_full,
    plan_fully_connected,
    plan_linear,
)
from e3frame.algebra.plan import ProductPlan
from e3frame.kernels import backends, cuequivariance, reference

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
PLANS = {
    "uvw": plan_fully_connected("3x0e + 2x1o", "2x0e + 1x1o", "4x0e + 2x1o + 3x1e"),
    "uuu": plan_elementwise("3x0e + 2x1o", "3x1o + 2x1e"),
    "uvu": plan_explicit("3x1o", "2x1o", "3x0e + 3x2e", [(0, 0, 0, "uvu", True), (0, 0, 1, "uvu", True)]),
    "uvv": plan_explicit("3x1o", "2x1o", "2x0e + 2x1e", [(0, 0, 0, "uvv", True), (0, 0, 1, "uvv", True)]),
    "uuw": plan_explicit("3x1o", "3x1o", "4x0e + 2x2e", [(0, 0, 0, "uuw", True), (0, 0, 1, "uuw", True)]),
}


def inputs(plan: ProductPlan, rows: int, edges: int, shared: bool) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    shapes = [
        (rows, plan.irreps_in1.dim),
        (edges, plan.irreps_in2.dim),
        (*(() if shared else (edges,)), plan.weight_numel),
    ]
    return tuple(torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes)


def compare(ours: torch.Tensor, theirs: torch.Tensor, tensors: tuple[torch.Tensor, ...]) -> None:
    """Values, gradients and second derivatives."""
    torch.testing.assert_close(theirs, ours, **CLOSE)
    first = [torch.autograd.grad(out.square().sum(), tensors, create_graph=True) for out in (ours, theirs)]
    second = [torch.autograd.grad(sum(g.square().sum() for g in gradients), tensors) for gradients in first]
    for pair in (first, second):
        for expected, given in zip(*pair, strict=True):
            torch.testing.assert_close(given, expected, **CLOSE)


@pytest.mark.parametrize(
    "plan",
    [
        plan_convolution("4x0e + 4x1o + 4x2e", "0e + 1o + 2e", "0e + 1o + 2e"),
        plan_convolution("4x0e + 2x1o", "0e + 1o"),
        PLANS["uvu"],
    ],
    ids=["one multiplicity", "several", "harmonics in copies"],
)
def test_convolution(plan: ProductPlan) -> None:
    assert cuequivariance.runs(plan)
    x, y, w = inputs(plan, 5, 11, shared=False)
    edge_index = torch.randint(5, (2, 11), generator=torch.Generator().manual_seed(1))
    ours = reference.convolution(x, edge_index, y, w, 5, None, plan)
    compare(ours, cuequivariance.convolution(x, edge_index, y, w, 5, None, plan, method="naive"), (x, y, w))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("mode", PLANS)
def test_product(mode: str, shared: bool) -> None:
    plan = PLANS[mode]
    assert cuequivariance.runs(plan)
    x, y, w = inputs(plan, 6, 6, shared)
    tensors = (x, y, w) if plan.weight_numel else (x, y)
    ours = reference.product(x, y, w, plan)
    compare(ours, cuequivariance.product(x, y, w, plan, method="naive"), tensors)


def test_plans_it_does_not_have() -> None:
    assert not cuequivariance.runs(plan_full("2x0e", "2x1o"))  # uvuv
    mixed = plan_explicit("2x0e", "2x0e", "2x0e", [(0, 0, 0, "uvu", True), (0, 0, 0, "uuu", False)])
    assert not cuequivariance.runs(mixed)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[ProductPlan, str | None]]]:
    """Tensors pass for those on a GPU; what is asked of cuequivariance, which runs on the CPU in the end."""
    calls, module = [], cuequivariance._module

    def naive(plan: ProductPlan, method: str | None) -> Callable:
        calls.append((plan, method))
        return module(plan, "naive")

    monkeypatch.setattr(cuequivariance, "_module", naive)
    monkeypatch.setattr(cuequivariance, "_takes", lambda x: True)
    monkeypatch.setattr(cuequivariance, "installed", lambda: True)
    with kernels.use("cuequivariance"):
        yield calls


@pytest.mark.parametrize("weights", ["of each edge", "shared by all", "shared by some"])
def test_convolutions_go_there_on_cuda(weights: str, asked: list) -> None:
    plan = plan_convolution("4x0e + 4x1o", "0e + 1o", "0e + 1o")
    x, y, w = inputs(plan, 5, 11, shared=weights == "shared by all")
    edge_index = torch.randint(5, (2, 11), generator=torch.Generator().manual_seed(1))
    rows = torch.arange(11) % 3 if weights == "shared by some" else None
    every = w if rows is None else w[rows]
    found = kernels.convolution(x, edge_index, y, w, plan, 5, rows)
    compare(reference.convolution(x, edge_index, y, every, 5, None, plan), found, (x, y, w))
    assert asked == [(plan, None)]


@pytest.mark.parametrize("weights", ["of each row", "shared", "none"])
def test_products_go_there_on_cuda(weights: str, asked: list) -> None:
    plan = plan_elementwise("3x0e + 2x1o", "3x1o + 2x1e") if weights == "none" else PLANS["uvw"]
    x, y, w = inputs(plan, 6, 6, weights == "shared")
    given, tensors = (None, (x, y)) if weights == "none" else (w, (x, y, w))
    compare(reference.product(x, y, w, plan), kernels.product(x, y, given, plan), tensors)
    assert asked == [(plan, None)]


def test_products_of_other_shapes(asked: list) -> None:
    """Leading dimensions are broadcast before."""
    plan = PLANS["uvw"]
    x, y, w = inputs(plan, 6, 6, shared=True)
    for x_, y_ in ((x[None], y[None]), (x[:1], y), (x[0], y[0])):
        lead = torch.broadcast_shapes(x_.shape[:-1], y_.shape[:-1])
        rows = [t.expand(*lead, -1).reshape(-1, t.shape[-1]) for t in (x_, y_)]
        expected = reference.product(*rows, w, plan).view(*lead, -1)
        torch.testing.assert_close(kernels.product(x_, y_, w, plan), expected, **CLOSE)
    assert len(asked) == 3


def test_when_it_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    there, here = (SimpleNamespace(is_cuda=name == "cuda") for name in ("cuda", "cpu"))
    plan = PLANS["uvw"]
    monkeypatch.delenv("E3FRAME_BACKEND", raising=False)
    monkeypatch.setattr(cuequivariance, "installed", lambda: True)
    assert "cuequivariance" in backends.find("product", plan)
    assert "cuequivariance" not in backends.find("product", plan_full("2x0e", "2x1o"))
    assert "cuequivariance" not in backends.find("linear", plan_linear("2x0e", "2x0e"))
    assert cuequivariance._takes(there)
    assert not cuequivariance._takes(here)
    with monkeypatch.context() as compiling:
        compiling.setattr(torch.compiler, "is_compiling", lambda: True)
        assert not cuequivariance._takes(there)
    monkeypatch.setenv("E3FRAME_BACKEND", "reference")
    assert backends.find("product", plan) == ("reference",)
    monkeypatch.delenv("E3FRAME_BACKEND")
    monkeypatch.setattr(cuequivariance, "installed", lambda: False)
    assert "cuequivariance" not in backends.find("product", plan)

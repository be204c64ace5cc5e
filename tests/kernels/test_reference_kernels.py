"""The convolution: e3nn's product and a scatter, equivariance, higher derivatives, empty graphs, compilation."""

from __future__ import annotations

import e3nn.o3
import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from e3frame import kernels, o3
from e3frame.algebra.paths import ProductPlan, plan_convolution, plan_explicit, plan_fully_connected
from e3frame.kernels.constants import constant

CLOSE = {"atol": 1e-10, "rtol": 0}
PLANS = [
    plan_convolution("4x0e + 3x1o + 2x2e", "0e + 1o + 2e", "0e + 1o + 2e"),
    plan_convolution("2x0o + 3x1e + 1x0e", "0e + 1o + 2e + 3o"),
    plan_convolution("5x0e", "0e + 1o"),
    plan_convolution("0x0e + 2x1o + 3x1o", "1o", "0e"),
    # Several paths into one term.
    plan_explicit("2x1o + 2x2e", "1o + 0e", "2x1o + 2x0e", [(0, 1, 0, "uvu", True), (1, 0, 0, "uvu", True)]),
]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def graph(
    plan: ProductPlan, generator: torch.Generator, edges: int = 11, sources: int = 5, targets: int = 4
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, edge_index, y, w; the last target has no edge."""
    options = {"generator": generator, "dtype": torch.float64}
    index = [torch.randint(n, (edges,), generator=generator) for n in (sources, targets - 1)]
    return (
        torch.randn(sources, plan.irreps_in1.dim, **options),
        torch.stack(index),
        torch.randn(edges, plan.irreps_in2.dim, **options),
        torch.randn(edges, plan.weight_numel, **options),
    )


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: repr(plan.irreps_out))
def test_is_a_product_and_a_scatter(plan: ProductPlan, generator: torch.Generator) -> None:
    x, edge_index, y, w = graph(plan, generator)
    out = kernels.convolution(x, edge_index, y, w, plan, 4)
    irreps = (repr(plan.irreps_in1), repr(plan.irreps_in2), repr(plan.irreps_out))
    paths = [ins[:5] for ins in plan.instructions]
    product = e3nn.o3.TensorProduct(*irreps, paths, shared_weights=False).double()
    # e3nn keeps constants in the default dtype, which its messages inherit.
    exact = kernels.product(x[edge_index[0]], y, w, plan)
    torch.testing.assert_close(exact, product(x[edge_index[0]], y, w), atol=1e-5, rtol=1e-5)
    expected = torch.zeros(4, plan.irreps_out.dim, dtype=torch.float64).index_add(0, edge_index[1], exact)
    torch.testing.assert_close(out, expected, **CLOSE)
    assert not out[3].any()


@pytest.mark.parametrize("inversion", [False, True])
@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: repr(plan.irreps_out))
def test_equivariant(plan: ProductPlan, inversion: bool, generator: torch.Generator) -> None:
    x, edge_index, y, w = graph(plan, generator)
    R = o3.rand_matrix(dtype=torch.float64, generator=generator) * (-1 if inversion else 1)
    D1, D2, D_out = (irreps.D_from_matrix(R) for irreps in (plan.irreps_in1, plan.irreps_in2, plan.irreps_out))
    rotated = kernels.convolution(x @ D1.T, edge_index, y @ D2.T, w, plan, 4)
    torch.testing.assert_close(rotated, kernels.convolution(x, edge_index, y, w, plan, 4) @ D_out.T, **CLOSE)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: repr(plan.irreps_out))
def test_derivatives(plan: ProductPlan, generator: torch.Generator) -> None:
    x, edge_index, y, w = graph(plan, generator, edges=4)

    def call(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return kernels.convolution(x, edge_index, y, w, plan, 4)

    arguments = tuple(a.requires_grad_() for a in (x, y, w))
    assert torch.autograd.gradcheck(call, arguments, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, arguments, fast_mode=True)


@pytest.mark.parametrize(("edges", "sources", "targets"), [(0, 3, 2), (0, 0, 0), (0, 0, 5)])
def test_empty_graphs(edges: int, sources: int, targets: int) -> None:
    plan = PLANS[0]
    x = torch.zeros(sources, plan.irreps_in1.dim, requires_grad=True)
    y = torch.zeros(edges, plan.irreps_in2.dim, requires_grad=True)
    w = torch.zeros(edges, plan.weight_numel)
    out = kernels.convolution(x, torch.zeros(2, edges, dtype=torch.long), y, w, plan, targets)
    assert out.shape == (targets, plan.irreps_out.dim)
    gradients = torch.autograd.grad(out.sum(), (x, y))
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiles_for_any_number_of_edges(backend: str, generator: torch.Generator) -> None:
    """Two convolutions in one graph, whose plans no module holds."""
    first, second = plan_convolution("2x0e + 1o", "0e + 1o", "0e + 1o"), plan_convolution("1o", "0e + 1o", "0e")

    def call(x: Tensor, edge_index: Tensor, y: Tensor, w: Tensor) -> Tensor:
        nodes = x.shape[0]
        out = kernels.convolution(x, edge_index, y, w, first, nodes)
        weights = w[:, : second.weight_numel]
        return kernels.convolution(out[:, -3:], edge_index, y, weights, second, nodes)

    compiled = torch.compile(call, fullgraph=True, dynamic=True, backend=backend)
    for edges, nodes in ((11, 5), (7, 6)):
        x, edge_index, y, w = graph(first, generator, edges, nodes, nodes)
        x.requires_grad_()
        out, expected = compiled(x, edge_index, y, w), call(x, edge_index, y, w)
        torch.testing.assert_close(out, expected, **CLOSE)
        (gradient,) = torch.autograd.grad(out.square().sum(), x)
        (same,) = torch.autograd.grad(expected.square().sum(), x)
        torch.testing.assert_close(gradient, same, **CLOSE)


def test_single_precision_rounds_once(generator: torch.Generator) -> None:
    plan = PLANS[0]
    x, edge_index, y, w = graph(plan, generator)
    single = kernels.convolution(x.float(), edge_index, y.float(), w.float(), plan, 4)
    assert single.dtype == torch.float32
    exact = kernels.convolution(x, edge_index, y, w, plan, 4)
    torch.testing.assert_close(single.double(), exact, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"x": torch.ones(5, 2)}, r"x must have a last dimension of 23, got shape \(5, 2\)"),
        ({"y": torch.ones(11, 2)}, r"y must have a last dimension of 9, got shape \(11, 2\)"),
        ({"w": torch.ones(11, 2)}, r"w must have a last dimension of 32, got shape \(11, 2\)"),
        (
            {"edge_index": torch.ones(2, 3, dtype=torch.long)},
            r"one entry for each edge, .* \(2, 3\), \(11, 9\), \(11, 32\)",
        ),
        ({"plan": plan_fully_connected("0e", "0e", "0e")}, r"channel-wise \(uvu\) paths, got 'uvw'"),
    ],
)
def test_convolution_errors(wrong: dict, message: str, generator: torch.Generator) -> None:
    arguments = dict(zip(("x", "edge_index", "y", "w"), graph(PLANS[0], generator), strict=True))
    with pytest.raises(ValueError, match=message):
        kernels.convolution(**{**arguments, "plan": PLANS[0], "num_nodes": 4, **wrong})


def test_product_errors() -> None:
    plan = plan_fully_connected("2x0e", "0e", "0e")
    with pytest.raises(ValueError, match="the product has 2 weights, got none"):
        kernels.product(torch.ones(2), torch.ones(1), None, plan)
    with pytest.raises(ValueError, match=r"w must have a last dimension of 2, got shape \(3,\)"):
        kernels.product(torch.ones(2), torch.ones(1), torch.ones(3), plan)


def test_constants_on_a_device_are_copied_once() -> None:
    """Not on the CPU, where each call may write to its own, and not in the presence of a mode."""
    load = constant(lambda n: np.arange(float(n)), shared=True)

    def call(n: int = 3, device: str = "meta", dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return load(n, dtype=dtype, device=torch.device(device))

    with torch.inference_mode():
        first = call()
    assert not first.is_inference()
    assert call() is first
    assert call(4).shape == (4,)
    assert call(dtype=torch.float64).dtype == torch.float64
    with FakeTensorMode():
        assert call() is not first
    assert call() is first
    assert call(device="cpu") is not call(device="cpu")
    assert constant(lambda n: np.arange(float(n)))(3, dtype=None, device="meta") is not first

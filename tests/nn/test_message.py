"""Messages: a product of nodes and edges, summed at the targets."""

from __future__ import annotations

import pytest
import torch
from support.graphs import Graph, random_graph, random_o3

from e3frame import kernels, nn, o3
from e3frame.algebra.irreps import Irreps
from e3frame.algebra.paths import ProductPlan, plan_channelwise, plan_explicit

SH = "0e + 1o + 2e"
PLANS = [
    plan_channelwise("4x0e + 3x1o + 2x1e", SH, "0e + 1o", weights=True),
    plan_channelwise("4x0e + 4x0e", SH, weights=True),
    # Two paths into one term, as in PaiNN.
    plan_explicit(
        "4x0e + 4x0e + 4x1o",
        "0e + 1o",
        "4x0e + 4x1o",
        [(0, 0, 0, "uvu", True), (1, 1, 1, "uvu", True), (2, 0, 1, "uvu", True)],
    ),
]


def inputs_of(plan: ProductPlan, graph: Graph) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    edges = graph["edge_index"].shape[1]
    shapes = ((len(graph["pos"]), plan.dims[0]), (edges, plan.dims[1]), (edges, plan.weight_numel))
    return tuple(torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes)


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_equals_gather_product_and_scatter(plan: ProductPlan) -> None:
    """With first and second derivatives."""
    graph = random_graph(0)
    x, y, w = inputs_of(plan, graph)
    edge_index = graph["edge_index"]
    message = nn.Message(plan, 3.0)(x, edge_index, y, w)
    product = o3.TensorProduct.from_plan(plan, shared_weights=False)
    gathered = nn.NodesToEdges("source")(x, edge_index)
    expected = nn.EdgesToNodes("sum", 3.0)(product(gathered, y, w), edge_index, graph["z"])
    torch.testing.assert_close(message, expected, rtol=0, atol=1e-12)
    ours, theirs = (
        torch.autograd.grad(out.square().sum(), (x, y, w), create_graph=True) for out in (message, expected)
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)
    ours, theirs = (torch.autograd.grad(sum(g.square().sum() for g in first), (x, y, w)) for first in (ours, theirs))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_runs_in_the_native_kernel(plan: ProductPlan) -> None:
    graph = random_graph(0)
    x, y, w = inputs_of(plan, graph)
    module = nn.Message(plan)
    native = module(x, graph["edge_index"], y, w)
    with kernels.use("reference"):
        torch.testing.assert_close(native, module(x, graph["edge_index"], y, w), rtol=0, atol=1e-12)
    if "native" in kernels.statuses() and kernels.native.library.load() is not None:
        assert "onvolution" in type(native.grad_fn).__name__


def test_rows_shared_by_an_edge_and_its_reverse() -> None:
    plan, graph = PLANS[0], random_graph(0)
    x, y, w = inputs_of(plan, graph)
    rows = torch.arange(len(w)) // 2
    message = nn.Message(plan)(x, graph["edge_index"], y, w, rows)
    torch.testing.assert_close(message, nn.Message(plan)(x, graph["edge_index"], y, w[rows]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("inversion", [False, True])
def test_equivariance(inversion: bool) -> None:
    plan, graph, matrix = PLANS[0], random_graph(0), random_o3(2, inversion)
    x, y, w = inputs_of(plan, graph)
    turned = [
        tensor @ irreps.D_from_matrix(matrix).T for tensor, irreps in ((x, plan.irreps_in1), (y, plan.irreps_in2))
    ]
    module = nn.Message(plan)
    expected = module(x, graph["edge_index"], y, w) @ plan.irreps_out.D_from_matrix(matrix).T
    torch.testing.assert_close(module(turned[0], graph["edge_index"], turned[1], w), expected, rtol=0, atol=1e-10)


def test_a_channelwise_product_meets_every_pair_of_terms() -> None:
    x, y = Irreps("3x0e + 3x1o"), Irreps("3x0e + 3x1o")
    plan = plan_channelwise(x, y)
    assert str(plan.irreps_out) == "3x0e+3x0e+3x1o+3x1o+3x1e+3x2e"
    assert {ins.connection_mode for ins in plan.instructions} == {"uuu"}
    assert plan.weight_numel == 0
    assert plan_channelwise(x, y, "0e", weights=True).weight_numel == 6
    assert {ins.connection_mode for ins in plan_channelwise(x, "0e + 1o").instructions} == {"uvu"}
    with pytest.raises(ValueError, match=r"as many copies in both inputs, or one in the second: 3x0e\+3x1o has 3x0e"):
        plan_channelwise(x, "2x1o")


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"^avg_num_neighbors must be positive, got 0$"):
        nn.Message(PLANS[0], 0)

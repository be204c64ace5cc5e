"""The native convolution is the reference, to the third derivative."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.native import AVAILABLE, PLANS, assert_same, derivatives, graph, large_graph, needs_native
from torch import Tensor

from e3frame import kernels
from e3frame.algebra.plan import ProductPlan
from e3frame.kernels import reference
from e3frame.kernels.native import convolution as native
from e3frame.kernels.native import groups, plans

pytestmark = needs_native


def both(
    plan: ProductPlan, edge_index: Tensor, nodes: int
) -> tuple[Callable[[Tensor, Tensor, Tensor], Tensor], Callable[[Tensor, Tensor, Tensor], Tensor]]:
    text = plans.encode(plan)
    return (
        lambda x, y, w: native.convolution(x, edge_index, y, w, None, text, nodes),
        lambda x, y, w: reference.convolution(x, edge_index, y, w, nodes, None, plan),
    )


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", PLANS)
def test_three_derivatives(name: str, shared: bool) -> None:
    plan = PLANS[name]
    x, edge_index, y, w = graph(plan, shared=shared)
    assert_same(*both(plan, edge_index, 5), (x, y, w), order=2 if name == "l6" else 3)


@pytest.mark.parametrize("isa", AVAILABLE)
@pytest.mark.parametrize("name", ["tails", "l4", "copies_of_y", "unweighted"])
def test_every_instruction_set(name: str, isa: int, use_instruction_set: Callable[[int], None]) -> None:
    use_instruction_set(isa)
    plan = PLANS[name]
    x, edge_index, y, w = graph(plan, edges=37)
    assert_same(*both(plan, edge_index, 5), (x, y, w), order=2)


@pytest.mark.parametrize("isa", AVAILABLE)
@pytest.mark.parametrize("name", ["tails", "parities", "l4"])
def test_single_precision(name: str, isa: int, use_instruction_set: Callable[[int], None]) -> None:
    """As exact as the reference in float32, up to a factor of 4."""
    use_instruction_set(isa)
    plan = PLANS[name]
    x, edge_index, y, w = graph(plan, edges=101)
    own, other = both(plan, edge_index, 5)
    single = [t.float() for t in (x, y, w)]
    found = zip(
        derivatives(own, single, 2),
        derivatives(other, single, 2),
        derivatives(other, [t.double() for t in single], 2),
        strict=True,
    )
    for native_value, reference_value, exact in found:
        assert native_value.dtype == torch.float32
        error, usual = ((value.double() - exact).abs().max() for value in (native_value, reference_value))
        assert error <= 4 * usual + 1e-6 * exact.abs().max()


@pytest.mark.parametrize("local", [False, True])
def test_large_graphs(local: bool) -> None:
    plan = PLANS["tails"]
    x, edge_index, y, w = large_graph(plan, local)
    assert_same(*both(plan, edge_index, len(x)), (x, y, w), order=2)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("edges", "sources", "targets"), [(0, 3, 2), (0, 0, 0), (0, 0, 5), (0, 4, 0), (1, 1, 1)])
def test_empty_graphs(edges: int, sources: int, targets: int, shared: bool) -> None:
    for plan in (PLANS["tails"], PLANS["unweighted"]):
        x, edge_index, y, w = graph(plan, edges, sources, targets, shared=shared)
        edge_index.zero_()
        assert_same(*both(plan, edge_index, targets), (x, y, w), order=3)


def test_no_paths() -> None:
    plan = PLANS["unweighted"]
    nothing = ProductPlan(plan.irreps_in1, plan.irreps_in2, plan.irreps_out, ())
    x, edge_index, y, w = graph(nothing)
    out = native.convolution(x, edge_index, y, w, None, plans.encode(nothing), 5)
    assert torch.equal(out, torch.zeros(5, plan.irreps_out.dim, dtype=torch.float64))


def test_weights_of_a_path_that_counts_nothing_have_zero_gradients() -> None:
    plan = PLANS["tails"]
    first, *others = plan.instructions
    silent = ProductPlan(plan.irreps_in1, plan.irreps_in2, plan.irreps_out, (first._replace(path_weight=0.0), *others))
    x, edge_index, y, w = graph(silent)
    for _ in range(5):
        torch.full((23, silent.weight_numel), torch.nan, dtype=torch.float64)  # what freed memory may hold
    assert_same(*both(silent, edge_index, 5), (x, y, w), order=2)


def test_tensors_that_are_not_contiguous() -> None:
    plan = PLANS["tails"]
    x, edge_index, y, w = graph(plan)
    expected = native.convolution(x, edge_index, y, w, None, plans.encode(plan), 5)
    strided = [torch.stack([t, t], dim=-1)[..., 0] for t in (x, y, w)]
    turned = edge_index.T.contiguous().T
    assert not any(t.is_contiguous() for t in (*strided, turned))
    out = native.convolution(strided[0], turned, *strided[1:], None, plans.encode(plan), 5)
    assert torch.equal(out, expected)
    own, other = both(plan, turned, 5)
    assert_same(lambda x, y, w: own(x.T.contiguous().T, y, w), other, (x, y, w), order=2)


def test_order_of_the_edges_does_not_matter() -> None:
    plan = PLANS["tails"]
    x, edge_index, y, w = graph(plan)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(3))
    sorted_first = both(plan, edge_index, 5)[0](x, y, w)
    torch.testing.assert_close(both(plan, edge_index[:, order], 5)[0](x, y[order], w[order]), sorted_first)


@pytest.mark.parametrize("name", ["copies_of_y", "several_into_one"])
def test_numeric_derivatives(name: str) -> None:
    plan = PLANS[name]
    x, edge_index, y, w = graph(plan, edges=4, sources=3, targets=3)
    inputs = [t.requires_grad_() for t in (x, y, w)]
    own = both(plan, edge_index, 3)[0]
    assert torch.autograd.gradcheck(own, inputs)
    assert torch.autograd.gradgradcheck(own, inputs)


def test_is_what_kernels_run(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = PLANS["tails"]
    x, edge_index, y, w = graph(plan)
    monkeypatch.setitem(reference.BACKEND.operators, "convolution", None)
    own = both(plan, edge_index, 5)[0](x, y, w)
    assert torch.equal(kernels.convolution(x, edge_index, y, w, plan, 5), own)


def test_an_index_that_changes_is_read_again() -> None:
    plan = PLANS["several_into_one"]
    x, edge_index, y, w = graph(plan)
    own, other = both(plan, edge_index, 5)
    own(x, y, w)
    edge_index[1] = 4 - edge_index[1]
    torch.testing.assert_close(own(x, y, w), other(x, y, w))
    edge_index.data = edge_index[:, ::2].clone()
    torch.testing.assert_close(own(x, y[::2], w[::2]), other(x, y[::2], w[::2]))
    with torch.inference_mode():
        frozen = edge_index.clone()
        own, other = both(plan, frozen, 5)
        own(x, y[::2], w[::2])
        frozen[1] = 4 - frozen[1]
        torch.testing.assert_close(own(x, y[::2], w[::2]), other(x, y[::2], w[::2]))


def test_an_index_is_forgotten_with_its_tensor() -> None:
    plan = PLANS["several_into_one"]
    x, edge_index, y, w = graph(plan)
    before = len(groups._known)
    both(plan, edge_index, 5)[0](x, y, w)
    assert len(groups._known) == before + 1
    del edge_index
    assert len(groups._known) == before


def _shared_rows(edges: int, rows: int) -> Tensor:
    """Rows of weights that edges share in no order; the last row is nobody's."""
    return torch.randint(rows - 1, (edges,), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["tails", "l4", "several_into_one", "unweighted"])
def test_edges_that_share_rows_of_weights(name: str) -> None:
    plan = PLANS[name]
    x, edge_index, y, w = graph(plan)
    rows, text = _shared_rows(len(y), 9), plans.encode(plan)
    assert_same(
        lambda x, y, w: native.convolution(x, edge_index, y, w, rows, text, 5),
        lambda x, y, w: reference.convolution(x, edge_index, y, w.index_select(0, rows), 5, None, plan),
        (x, y, w[:9]),
        order=3,
    )
    assert torch.equal(
        kernels.convolution(x, edge_index, y, w[:9], plan, 5, rows),
        kernels.convolution(x, edge_index, y, w[:9][rows], plan, 5),
    )


@pytest.mark.parametrize("local", [False, True])
def test_shared_rows_in_a_large_graph(local: bool) -> None:
    plan = PLANS["tails"]
    x, edge_index, y, w = large_graph(plan, local, torch.float64, False)
    rows, text = _shared_rows(len(y), len(y) // 2), plans.encode(plan)
    assert_same(
        lambda x, y, w: native.convolution(x, edge_index, y, w, rows, text, len(x)),
        lambda x, y, w: reference.convolution(x, edge_index, y, w.index_select(0, rows), len(x), None, plan),
        (x, y, w[: len(y) // 2]),
        order=2,
    )


def test_rows_of_no_edge() -> None:
    plan = PLANS["several_into_one"]
    x, _, y, w = graph(plan)
    w = w[:9].clone().requires_grad_()
    nothing = torch.zeros(2, 0, dtype=torch.int64), y[:0]
    out = kernels.convolution(x, *nothing, w, plan, 5, torch.zeros(0, dtype=torch.int64))
    (gw,) = torch.autograd.grad(out.sum(), w)
    assert torch.equal(gw, torch.zeros_like(w))


def test_rows_that_are_wrong() -> None:
    plan = PLANS["several_into_one"]
    x, edge_index, y, w = graph(plan)
    with pytest.raises(IndexError, match="entry 0 has the index 23, which is not below 23"):
        kernels.convolution(x, edge_index, y, w, plan, 5, torch.full((23,), 23))
    with pytest.raises(ValueError, match=r"rows must have shape \(23,\), got \(22,\)"):
        kernels.convolution(x, edge_index, y, w, plan, 5, torch.zeros(22, dtype=torch.int64))
    with pytest.raises(ValueError, match="an index must be int64"):
        kernels.convolution(x, edge_index, y, w, plan, 5, torch.zeros(23))

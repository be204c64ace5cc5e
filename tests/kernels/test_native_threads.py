"""Results do not depend on the number of threads, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.native import PLANS, derivatives, graph, large_graph, needs_native
from torch import Tensor

from e3frame import nn, o3
from e3frame.kernels.native import convolution as native
from e3frame.kernels.native import plans

pytestmark = needs_native


def check(call: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(list(derivatives(call, inputs, 2)))
    for first, *others in zip(*found, strict=True):
        assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", ["tails", "copies_of_y"])
def test_convolution(name: str, shared: bool, restore_threads: None) -> None:
    plan = PLANS[name]
    x, edge_index, y, w = graph(plan, 1500, 200, 300, shared=shared, dtype=torch.float32)
    text = plans.encode(plan)
    check(lambda x, y, w: native.convolution(x, edge_index, y, w, None, text, 300), (x, y, w))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("local", [False, True])
def test_convolution_of_a_large_graph(local: bool, shared: bool, restore_threads: None) -> None:
    plan = PLANS["tails"]
    x, edge_index, y, w = large_graph(plan, local, torch.float32, shared)
    text = plans.encode(plan)
    check(lambda x, y, w: native.convolution(x, edge_index, y, w, None, text, len(x)), (x, y, w))


@pytest.mark.parametrize("local", [False, True])
def test_edges_that_share_rows_of_weights(local: bool, restore_threads: None) -> None:
    plan = PLANS["tails"]
    x, edge_index, y, w = large_graph(plan, local, torch.float32)
    rows, text = torch.randint(len(y) // 2, (len(y),)), plans.encode(plan)
    check(lambda x, y, w: native.convolution(x, edge_index, y, w, rows, text, len(x)), (x, y, w[: len(y) // 2].clone()))


@pytest.mark.parametrize("indexed", [False, True])
def test_linear(indexed: bool, restore_threads: None) -> None:
    irreps = ("33x0e + 17x1o", "17x0e + 3x1o + 1x1o")
    module = o3.IndexedLinear(*irreps, 4) if indexed else o3.Linear(*irreps)
    x, index = torch.randn(500, module.irreps_in.dim), torch.arange(500) % 3
    rest = (index,) if indexed else ()
    check(
        lambda x, w: torch.func.functional_call(module, {"weight": w}, (x, *rest)), (x, module.weight.detach().clone())
    )


@pytest.mark.parametrize("species", [1, 3])
def test_symmetric_product(species: int, restore_threads: None) -> None:
    """With more rows of each species than one thread takes at once."""
    module = o3.SymmetricProduct("17x0e + 17x1o", "17x0e + 17x1o", 3, species)
    x, index = torch.randn(1500, module.irreps_in.dim), torch.arange(1500) % species
    check(
        lambda x, w: torch.func.functional_call(module, {"weight": w}, (x, index)), (x, module.weight.detach().clone())
    )


def test_pointwise(restore_threads: None) -> None:
    vectors = torch.randn(1000, 3)
    gate = nn.Gate("5x0e", ["silu"], "19x0e", ["sigmoid"], "17x1o + 2x2e")
    basis = nn.RadialBasis(nn.BesselBasis(3.0, 8), nn.PolynomialEnvelope(3.0))
    check(gate, (torch.randn(1000, gate.irreps_in.dim),))
    check(nn.FullyConnectedNet([8, 64, 3], "silu"), (torch.randn(1000, 8),))
    check(o3.SphericalHarmonics([0, 1, 2, 3], True), (vectors,))
    check(basis, (vectors,))

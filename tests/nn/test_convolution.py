"""Message passing: against e3nn's modules, its symmetries, derivatives, size, and its limits."""

from __future__ import annotations

import copy
import math
import re

import pytest
import torch
from e3nn import o3 as oracle
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from e3frame.algebra.activations import gate_input
from e3frame.algebra.interaction import plan_interaction
from e3frame.algebra.irreps import Irreps
from e3frame.nn import Convolution, SelfConnection, SpeciesEmbedding

HIDDEN = Irreps("3x0e+2x1o+2x2e+1x0e+1x1e")
OUT = Irreps("4x0e+2x0o+3x1o+1x2e")
SH = Irreps("0e+1o+2e")
NODES, EDGES, SPECIES = 5, 14, 3


def make(self_connection: bool = True, attributes: str | None = None, irreps_out: Irreps = OUT) -> Convolution:
    return Convolution(HIDDEN, SH, irreps_out, 4, [6], SPECIES, 2.5, self_connection, attributes)


@pytest.fixture
def inputs(generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    x = torch.randn(NODES, HIDDEN.dim, generator=generator)
    species = torch.randint(SPECIES, (NODES,), generator=generator)
    edge_index = torch.randint(NODES - 1, (2, EDGES), generator=generator)  # the last node has no edge
    edge_index = edge_index[:, edge_index[1].argsort()]
    edge_sh = torch.randn(EDGES, SH.dim, generator=generator)
    radial = torch.randn(EDGES, 4, generator=generator)
    return x, species, edge_index, edge_sh, radial


def reference(module: Convolution, x, species, edge_index, edge_sh, radial, _=None, attributes=None) -> torch.Tensor:
    """The same from e3nn's modules with the same weights."""
    irreps_in, irreps_sh, irreps_out = (oracle.Irreps(str(irreps)) for irreps in (HIDDEN, SH, module.irreps_out))
    linear_1 = oracle.Linear(irreps_in, irreps_in)
    linear_1.load_state_dict({**linear_1.state_dict(), "weight": module.linear_1.weight.detach()})
    paths = [
        (mul, ir_out, i, j)
        for i, (mul, ir_in) in enumerate(irreps_in)
        for j, (_, ir_sh) in enumerate(irreps_sh)
        for ir_out in ir_in * ir_sh
        if ir_out in irreps_out
    ]
    irreps_mid, p, _ = oracle.Irreps([(mul, ir) for mul, ir, _, _ in paths]).sort()
    instructions = sorted([(i, j, p[k], "uvu", True) for k, (_, _, i, j) in enumerate(paths)], key=lambda ins: ins[2])
    product = oracle.TensorProduct(
        irreps_in, irreps_sh, irreps_mid, instructions, shared_weights=False, internal_weights=False
    )
    linear_2 = oracle.Linear(irreps_mid.simplify(), irreps_out)
    linear_2.load_state_dict({**linear_2.state_dict(), "weight": module.linear_2.weight.detach()})
    messages = product(linear_1(x)[edge_index[0]], edge_sh, module.radial(radial))
    out = linear_2(torch.zeros(len(x), irreps_mid.dim).index_add(0, edge_index[1], messages) / math.sqrt(2.5))
    if module.self_connection is None:
        return out
    return out + reference_self(module, x, species, attributes)


def reference_self(module: Convolution, x, species, attributes) -> torch.Tensor:
    """The fully connected product with the attributes, or with the species as a unit vector."""
    if attributes is None:
        attributes = F.one_hot(species, SPECIES).to(x.dtype)
    own = f"{attributes.shape[1]}x0e"
    product = oracle.FullyConnectedTensorProduct(str(module.irreps_in), own, str(module.irreps_out))
    return product(x, attributes, module.self_connection.weight)


def test_self_connection_equals_e3nn(generator: torch.Generator):
    """With an output (5x3e) that no input reaches."""
    irreps_out = OUT + Irreps("5x3e")
    module = SelfConnection(HIDDEN, "4x0e+3x0e", irreps_out)
    x, attributes = (torch.randn(NODES, dim, generator=generator) for dim in (HIDDEN.dim, 7))
    product = oracle.FullyConnectedTensorProduct(str(HIDDEN), "7x0e", str(irreps_out))
    found = module(x, attributes)
    torch.testing.assert_close(found, product(x, attributes, module.weight), rtol=0, atol=1e-11)
    assert not found[:, -35:].any()


def test_self_connection_has_unit_variance(generator: torch.Generator):
    module = SelfConnection("32x0e+32x1o", "8x0e", "64x0e+64x1o")
    x = torch.randn(500, 128, generator=generator)
    assert module(x, torch.randn(500, 8, generator=generator)).square().mean().item() == pytest.approx(1.0, rel=0.15)


def test_self_connection_errors():
    for irreps, given in (("2x0o", "2x0o"), ("2x0e+1o", "2x0e+1x1o"), ("", "none"), ("0x0e", "none")):
        with pytest.raises(ValueError, match=rf"^attributes must be even scalars \(0e\), got {re.escape(given)}$"):
            SelfConnection("1x0e", irreps, "1x0e")


@pytest.mark.parametrize("case", ["plain", "species", "attributes"])
def test_equals_e3nn(case: str, inputs, generator: torch.Generator):
    with_attributes = case == "attributes"
    module = make(case != "plain", "7x0e" if with_attributes else None)
    attributes = torch.randn(NODES, 7, generator=generator) if with_attributes else None
    found, expected = module(*inputs, None, attributes), reference(module, *inputs, None, attributes)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("with_cutoff", [False, True])
@pytest.mark.parametrize("attributes", [None, "7x0e"])
def test_density(attributes: str | None, with_cutoff: bool, inputs, generator: torch.Generator):
    """Node by node: the result without it divided by 1 plus a sum over the edges, to which a cutoff belongs."""
    torch.manual_seed(3)
    plain = make(attributes is not None, attributes)
    torch.manual_seed(3)
    module = Convolution(HIDDEN, SH, OUT, 4, [6], SPECIES, 2.5, attributes is not None, attributes, density=True)
    with torch.no_grad():
        plain.linear_2.weight.copy_(module.linear_2.weight)
    if attributes is not None:
        module.self_connection = plain.self_connection
    _, _, edge_index, _, radial = inputs
    given = None if attributes is None else torch.randn(NODES, 7, generator=generator)
    cutoff = torch.rand(EDGES, 1, generator=generator) if with_cutoff else None
    own = 0.0 if attributes is None else plain.self_connection(inputs[0], given, inputs[1])
    messages = plain(*inputs, None, given, cutoff) - own
    found = module(*inputs, None, given, cutoff) - own
    v = module.density.layer0.weight[:, 0] / 2.0  # of 4 radial functions
    for node in range(NODES):
        edges = (edge_index[1] == node).nonzero()[:, 0].tolist()
        terms = [torch.tanh((radial[e] @ v) ** 2) * (1.0 if cutoff is None else cutoff[e, 0]) for e in edges]
        expected = messages[node] / (1 + sum(terms) / math.sqrt(2.5))
        torch.testing.assert_close(found[node], expected, rtol=0, atol=1e-12)


def test_cutoff_multiplies_the_messages(inputs, generator: torch.Generator):
    """Each by the factor of its edge, as if the harmonics were scaled."""
    module = make(self_connection=False)
    x, species, edge_index, edge_sh, radial = inputs
    cutoff = torch.rand(EDGES, 1, generator=generator)
    found = module(*inputs, None, None, cutoff)
    expected = module(x, species, edge_index, edge_sh * cutoff, radial)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    rows = torch.arange(EDGES).flip(0)
    shared = module(x, species, edge_index, edge_sh, radial.flip(0), rows, None, cutoff.flip(0))
    torch.testing.assert_close(shared, found, rtol=0, atol=1e-12)


@pytest.mark.parametrize("attributes", [None, "7x0e"])
def test_is_equivariant(attributes: str | None, inputs, representation, generator: torch.Generator):
    module = make(attributes=attributes)
    x, species, edge_index, edge_sh, radial = inputs
    of_node = None if attributes is None else torch.randn(NODES, 7, generator=generator)
    d_in, d_sh, d_out = (representation(irreps) for irreps in (HIDDEN, SH, OUT))
    moved = module(x @ d_in.T, species, edge_index, edge_sh @ d_sh.T, radial, None, of_node)
    expected = module(*inputs, None, of_node) @ d_out.T
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-10)


def test_permutation(inputs, generator: torch.Generator):
    module = make()
    x, species, edge_index, edge_sh, radial = inputs
    nodes = torch.randperm(NODES, generator=generator)
    new = nodes.argsort()[edge_index]
    order = new[1].argsort()
    out = module(x[nodes], species[nodes], new[:, order], edge_sh[order], radial[order])
    torch.testing.assert_close(out, module(*inputs)[nodes], rtol=0, atol=1e-11)


def test_isolated_nodes_and_vanishing_edges(inputs):
    x, species, edge_index, edge_sh, radial = inputs
    module = make()
    own = module.self_connection(x, species)
    torch.testing.assert_close(module(*inputs)[-1], own[-1], rtol=0, atol=1e-12)
    torch.testing.assert_close(module(x, species, edge_index, edge_sh, radial * 0), own, rtol=0, atol=1e-12)
    none = module(x, species, edge_index[:, :0], edge_sh[:0], radial[:0])
    torch.testing.assert_close(none, own, rtol=0, atol=1e-12)
    assert not make(self_connection=False)(x, species, edge_index, edge_sh, radial * 0).any()


def test_derivatives(inputs, generator: torch.Generator):
    module = Convolution("1x0e+1x1o", "0e+1o", "1x0e+1x1o", 2, [2], 2, 2.0, True, "2x0e")
    x = torch.randn(3, 4, generator=generator, requires_grad=True)
    edge_index = torch.tensor([[1, 2, 0, 0], [0, 0, 1, 2]])
    edge_sh = torch.randn(4, 4, generator=generator, requires_grad=True)
    radial = torch.randn(4, 2, generator=generator, requires_grad=True)
    attributes = torch.randn(3, 2, generator=generator, requires_grad=True)

    def function(x, edge_sh, radial, attributes, *_):
        return module(x, torch.tensor([0, 1, 1]), edge_index, edge_sh, radial, None, attributes)

    leaves = (x, edge_sh, radial, attributes, *module.parameters())
    assert gradcheck(function, leaves)
    assert gradgradcheck(function, leaves)


def test_casts_copies_and_saves(inputs):
    module = make()
    out = module(*inputs)
    other = make()
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(*inputs), out)
    single = copy.deepcopy(module).float()(*[t.float() if t.is_floating_point() else t for t in inputs])
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), out, rtol=1e-4, atol=1e-4)
    assert {name for name, _ in module.named_parameters()} == {
        "linear_1.weight",
        "linear_2.weight",
        "radial.layer0.weight",
        "radial.layer1.weight",
        "self_connection.weight",
    }


@pytest.mark.parametrize("self_connection", [False, True])
@pytest.mark.parametrize("attributes", [None, "7x0e"])
def test_planned_size(self_connection: bool, attributes: str | None):
    module = make(self_connection, attributes)
    rows = (7 if attributes else SPECIES) if self_connection else 0
    plan = plan_interaction(HIDDEN, SH, OUT, 4, [6], rows)
    assert plan == module.plan
    assert plan.num_parameters == sum(p.numel() for p in module.parameters())


def test_size_of_nequip():
    """278,144 in nequip 0.19.1: H C O, 3 layers, l_max 2, parity False, 32 features, radial 2 x 64, 8 Bessels."""
    hidden = "32x0e+32x1o+32x2e"
    sizes = [SpeciesEmbedding(3, "32x0e").weight.numel()]
    for irreps_in, irreps_out, rows in (("32x0e", hidden, 0), (hidden, hidden, 32), (hidden, "32x0e", 32)):
        sizes.append(plan_interaction(irreps_in, "0e+1o+2e", gate_input(irreps_out), 8, [64, 64], rows).num_parameters)
    assert sizes == [96, 16_896, 211_456, 49_664]
    assert sum(sizes) + 32 == 278_144


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("1x0e", "0e+1o", "2x1o+1x3e", 4, [6], 3, 2.0), "1x3e is out of reach: (1x0e) ⊗ (1x0e+1x1o) gives 0e, 1o"),
        (("", "0e+1o", "2x1o", 4, [6], 3, 2.0), "2x1o is out of reach: () ⊗ (1x0e+1x1o) gives nothing"),
        (
            ("1x0e", "2x1o", "2x1o", 4, [6], 3, 2.0),
            "a convolution needs edge harmonics of multiplicity 1, got 2x1o in 2x1o",
        ),
        (("1x0e", "0e", "1x0e", 4, [6], 3, 0.0), "avg_num_neighbors must be positive, got 0.0"),
        (("1x0e", "0e", "1x0e", 4, [6], 3, 2.0, True, "2x0o"), "attributes must be even scalars (0e), got 2x0o"),
        (("1x0e", "0e", "1x0e", 4, [0], 3, 2.0), "two or more positive sizes are required, got [4, 0, 1]"),
        (("1x0e", "0e", "1x0e", 4, [6], 0, 2.0), "num_species must be positive, got 0"),
    ],
)
def test_errors(arguments: tuple, message: str):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Convolution(*arguments)

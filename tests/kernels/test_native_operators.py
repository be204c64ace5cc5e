"""The operators as torch sees them: opcheck, compilers, exporters; and what they say to wrong arguments."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.native import PLANS, needs_native
from support.operators import SAMPLES
from torch import Tensor
from torch import nn as torch_nn

from e3frame import kernels, nn, o3
from e3frame.kernels.native import convolution as native
from e3frame.kernels.native import groups

pytestmark = needs_native


def test_every_operator_has_a_sample() -> None:
    defined = {name.split("::")[1] for name in torch._C._dispatch_get_all_op_names() if name.startswith("e3frame::")}
    assert defined == set(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_opcheck(name: str) -> None:
    torch.library.opcheck(getattr(torch.ops.e3frame, name).default, SAMPLES[name])


@pytest.mark.parametrize("wanted", [0, 1, 2, 4, 8, 6, 9])
@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("convolution_twice", (8, 1, 2, 4)),
        ("symmetric_product_twice", (1, 2, 4)),
        ("convolution_backward", (1, 2, 4)),
        ("symmetric_product_backward", (1, 2)),
    ],
)
def test_gradients_that_are_not_wanted_are_empty(name: str, bits: tuple[int, ...], wanted: int) -> None:
    operator, arguments = getattr(torch.ops.e3frame, name), SAMPLES[name][:-1]
    for bit, own, full in zip(bits, operator(*arguments, wanted), operator(*arguments, 15), strict=True):
        assert torch.equal(own, full) if wanted & bit else own.numel() == 0


class Network(torch_nn.Module):
    """The parts of a NequIP-like model that have native kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.harmonics = o3.SphericalHarmonics([0, 1, 2], True, "component")
        self.radial = nn.RadialBasis(nn.BesselBasis(3.0, 4), nn.PolynomialEnvelope(3.0))
        self.gate = nn.Gate("4x0e", ["silu"], "5x0e", ["sigmoid"], "3x1o + 2x2e")
        self.first = nn.Convolution("4x0e", "0e + 1o + 2e", self.gate.irreps_in, 4, [8], 3, 2.0)
        self.second = nn.Convolution(
            self.gate.irreps_out, "0e + 1o + 2e", "4x0e", 4, [8], 3, 2.0,
            irreps_attributes="4x0e", attributes_per_species=True,
        )  # fmt: skip
        self.last = o3.Linear("4x0e", "0e", biases=True)

    def forward(self, pos: Tensor, edge_index: Tensor, species: Tensor) -> Tensor:
        vectors = nn.edge_vectors(pos, edge_index)
        y, r = self.harmonics(vectors), self.radial(vectors)
        a = torch.nn.functional.one_hot(species, 4).to(pos.dtype)
        x = self.gate(self.first(a, species, edge_index, y, r))
        return self.last(self.second(x, species, edge_index, y, r, attributes=a))


def molecule(nodes: int, edges: int) -> tuple[Tensor, Tensor, Tensor]:
    pos = torch.randn(nodes, 3, dtype=torch.float64)
    source = torch.randint(nodes, (edges,))
    return (
        pos,
        torch.stack([source, (source + 1 + torch.randint(nodes - 1, (edges,))) % nodes]),
        torch.arange(nodes) % 3,
    )


def with_gradients(network: Callable[..., Tensor], model: torch_nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    pos = inputs[0].clone().requires_grad_()
    out = network(pos, *inputs[1:])
    return [out, *torch.autograd.grad(out.square().sum(), [pos, *model.parameters()])]


def test_a_network_compiles_for_every_size() -> None:
    torch.manual_seed(0)
    network = Network().double()
    compiled = torch.compile(network, fullgraph=True, dynamic=True, backend="aot_eager")
    for nodes, edges in ((6, 17), (9, 31)):
        inputs = molecule(nodes, edges)
        pairs = zip(with_gradients(compiled, network, inputs), with_gradients(network, network, inputs), strict=True)
        for own, expected in pairs:
            torch.testing.assert_close(own, expected, atol=1e-10, rtol=1e-10)


def test_a_network_is_exported() -> None:
    torch.manual_seed(0)
    network = Network().double()
    nodes, edges = torch.export.Dim("nodes", min=2), torch.export.Dim("edges", min=2)
    shapes = ({0: nodes}, {1: edges}, {0: nodes})
    exported = torch.export.export(network, molecule(6, 17), dynamic_shapes=shapes)
    called = {str(node.target) for node in exported.graph.nodes if str(node.target).startswith("e3frame")}
    assert {"e3frame.convolution.default", "e3frame.harmonics.default", "e3frame.gate.default"} <= called
    inputs = molecule(9, 31)
    torch.testing.assert_close(exported.module()(*inputs), network(*inputs), atol=1e-10, rtol=1e-10)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_batched_gradients_and_transforms() -> None:
    torch.manual_seed(0)
    network = Network().double()
    pos, *rest = molecule(6, 17)

    def energy(pos: Tensor) -> Tensor:
        return network(pos, *rest).sum()

    expected = torch.autograd.functional.hessian(energy, pos)
    assert expected.any()
    vectorized = torch.autograd.functional.hessian(energy, pos, vectorize=True)
    transformed = torch.func.hessian(energy)(pos)
    for hessian in (vectorized, transformed):
        torch.testing.assert_close(hessian, expected, atol=1e-10, rtol=0)


def test_autocast_is_left_to_torch() -> None:
    net = nn.FullyConnectedNet([4, 8, 3], "silu")
    with torch.autocast("cpu", torch.bfloat16):
        out = net(torch.randn(5, 4))
    assert out.dtype == torch.bfloat16


X, EDGES, Y, W, _, TEXT, _ = SAMPLES.get("convolution", (None,) * 7)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"num_nodes": 2}, IndexError, "entry 0 has the index 2, which is not below 2"),
        ({"x": lambda x: x[:2]}, IndexError, "which is not below 2"),
        ({"edge_index": lambda e: e - 1}, IndexError, "has the index -1, which is not below"),
        (
            {"y": lambda y: y.float()},
            ValueError,
            r"one type, got torch\.float64, torch\.float32 and torch\.float64",
        ),
        ({"w": lambda w: w.float()}, ValueError, "one type, got"),
        ({"edge_index": lambda e: e.int()}, ValueError, "edge_index must be int64, got torch.int32"),
        ({"y": lambda y: y[1:]}, ValueError, "one entry for each edge"),
        ({"x": lambda x: x[:, 1:]}, ValueError, "x must have a last dimension of 16"),
    ],
)
def test_wrong_arguments(wrong: dict, error: type[Exception], message: str) -> None:
    arguments = {"x": X, "edge_index": EDGES, "y": Y, "w": W, "num_nodes": 5}
    for name, change in wrong.items():
        arguments[name] = change(arguments[name]) if callable(change) else change
    with pytest.raises(error, match=message):
        kernels.convolution(**arguments, plan=PLANS["several_into_one"])


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (0, lambda x: x.float(), "y must be of the type of x, torch.float32, got torch.float64"),
        (0, lambda x: x[:, 1:], r"x must have shape \(6, 16\), got \(6, 15\)"),
        (1, lambda e: e[:, 1:], r"edge_index must have shape \(2, 23\), got \(2, 22\)"),
        (2, lambda y: y[:, 1:], r"y must have shape \(23, 4\), got \(23, 3\)"),
        (3, lambda w: w[1:], r"w must have shape \(23, 4\), got \(22, 4\)"),
        (4, lambda rows: torch.zeros(22, dtype=torch.int64), r"rows must have shape \(23,\), got \(22,\)"),
        (5, lambda o: o[:, 1:], r"o must have shape \(5, 8\), got \(5, 7\)"),
        (6, lambda ax: ax[1:], r"ax must have shape \(6, 16\), got \(5, 16\)"),
    ],
)
def test_wrong_arguments_of_the_operators(place: int, change: Callable[[Tensor], Tensor], message: str) -> None:
    arguments = list(SAMPLES["convolution_twice"])
    arguments[4] = None
    arguments[place] = change(arguments[place])
    with pytest.raises(ValueError, match=message):
        torch.ops.e3frame.convolution_twice(*arguments)


def meta(tensor: Tensor) -> Tensor:
    return tensor.detach().to("meta")


LINE, INDEX = o3.Linear("3x0e", "2x0e"), torch.tensor([0, 1])
SOME = [
    ("convolution", lambda: kernels.convolution(X, meta(EDGES), Y, W, PLANS["several_into_one"], 5)),
    ("convolution", lambda: kernels.convolution(X, EDGES, meta(Y), W, PLANS["several_into_one"], 5)),
    ("convolution", lambda: kernels.convolution(X, EDGES, Y, meta(W), PLANS["several_into_one"], 5)),
    ("linear", lambda: torch.func.functional_call(LINE, {"weight": meta(LINE.weight)}, torch.randn(2, 3))),
    ("linear", lambda: o3.IndexedLinear("3x0e", "2x0e", 2)(torch.randn(2, 3), meta(INDEX))),
    ("differences", lambda: nn.edge_vectors(torch.randn(5, 3), meta(EDGES), None)),
    ("differences", lambda: nn.edge_vectors(torch.randn(5, 3), EDGES, meta(torch.zeros(23, 3)))),
]


@pytest.mark.parametrize("case", range(len(SOME)))
def test_another_device(case: int) -> None:
    name, call = SOME[case]
    message = f"^{name} needs all tensors on one device, got some on cpu and some on meta$"
    with pytest.raises(ValueError, match=message):
        call()


def test_an_index_on_another_device() -> None:
    with pytest.raises(ValueError, match=r"an index must be int64 on the CPU, .* got torch.int64 on meta of"):
        groups.first(meta(INDEX), 2)
    assert kernels.pairs(meta(EDGES), torch.zeros(23, 3), 5) is None


def test_another_type_of_numbers() -> None:
    with pytest.raises(ValueError, match=r"native kernels run in float32 and float64, got torch.bfloat16"):
        native.convolution(X.bfloat16(), EDGES, Y.bfloat16(), W.bfloat16(), None, TEXT, 5)


TEXTS = {
    "linear": [
        "2x0e|2x0e|1|0 1 0 0 2 0x1p+0",  # a term that is not there
        "2x0e|2x0e|1|-1 0 0 0 2 0x1p+0",
        "2x0e|2x1o|1|0 0 0 0 2 0x1p+0",  # of another irrep
        "2x0e|2x0e|1|0 0 -4 0 2 0x1p+0",  # weights before the first
        "2x0e|2x0e|0|0 0 0 0 2 0x1p+0",
    ],
    "convolution": [
        "2x0e|1x0e|2x0e|0,0,1,1,0x1p+0",
        "2x0e|1x0e|2x0e|0,-1,0,1,0x1p+0",
        "2x0e|1x0e|3x0e|0,0,0,1,0x1p+0",  # more copies out than in
        "2x0e|1x12e|2x12e|0,0,0,1,0x1p+0",
    ],
    "harmonics": ["2 -1|0|0x1p+0 0x1p+0", "2|0|0x1p+0 0x1p+0", "0|0|"],
    "radial": ["bessel 0 cosine 0 0x1p+0", "bessel -3 cosine 0 0x1p+0", "gaussian 2 cosine 0 -0x1p+0"],
    "activate": ["3 0x1p+0 0x1p+0", "-1 0x1p+0 0x1p+0"],
    "gate": [
        "2 2|0 0 3 0 0x1p+0 0x1p+0|",
        "2 2|1 0 2 0 0x1p+0 0x1p+0|",
        "2 3|0 0 2 0 0x1p+0 0x1p+0|",  # a component that nobody writes
        "2 2|-1 0 2 0 0x1p+0 0x1p+0|",
        "3 3||7 0 0 1 3 0 0x1p+0 0x1p+0",
    ],
    "symmetric_product": [
        "2x0e+3x1o|2x0e|3|1|reduced",  # channels that do not fit
        "2x0e+2x1o|3x0e|3|1|reduced",
        "2x0e+2x1o|2x1e|3|1|reduced",  # out of reach
        "2x0e+2x1o|2x0e|0|1|reduced",
        "2x0e+2x1o|2x0e|5|1|reduced",
        "2x0e+2x1o|2x0e|3|0|reduced",
        "2x0e+2x1o|2x0e|3|1|other",
    ],
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_do_not_fit(name: str) -> None:
    """They may come from the file of an exported program."""
    place = [isinstance(item, str) for item in SAMPLES[name]].index(True)
    for text in TEXTS[name]:
        arguments = [*SAMPLES[name][:place], text, *SAMPLES[name][place + 1 :]]
        with pytest.raises(ValueError, match="whose parts do not fit together"):
            getattr(torch.ops.e3frame, name)(*arguments)

"""Native linear maps are the modules in plain torch, to the third derivative."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.native import AVAILABLE, assert_same, needs_native
from torch import Tensor, nn

from e3frame import kernels, o3
from e3frame.kernels.native.linear import linear, linear_weights, write_linear
from e3frame.nn.self_connection import SelfConnection

pytestmark = needs_native

IRREPS = [
    ("33x0e + 17x1o + 3x2e", "17x0e + 33x1o + 1x2e"),
    ("1x0e + 3x0e + 2x1o", "5x0e + 2x1o + 3x1o + 1x3o"),
    ("2x0e", "3x1o"),
    ("0x0e + 2x1e", "2x1e + 0x0e"),
    ("18x2e + 16x3o + 8x0o", "17x2e + 33x3o + 8x0o"),
]


def plain(module: nn.Module, *rest: Tensor) -> Callable[..., Tensor]:
    """The module on the reference backend, as a function of x and its parameters."""

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        with kernels.use("reference"):
            return functional(module, *rest)(x, *parameters)

    return call


def functional(module: nn.Module, *rest: Tensor) -> Callable[..., Tensor]:
    names = [name for name, _ in module.named_parameters()]
    return lambda x, *p: torch.func.functional_call(module, dict(zip(names, p, strict=True)), (x, *rest))


def check(module: nn.Module, x: Tensor, *rest: Tensor, order: int = 3) -> None:
    parameters = [p.detach() for p in module.double().parameters()]
    assert_same(functional(module, *rest), plain(module, *rest), (x.double(), *parameters), order)


@pytest.mark.parametrize("isa", AVAILABLE)
@pytest.mark.parametrize("rows", [0, 1, 7, 70])
@pytest.mark.parametrize("irreps", IRREPS, ids=str)
def test_linear(irreps: tuple[str, str], rows: int, isa: int, use_instruction_set: Callable[[int], None]) -> None:
    use_instruction_set(isa)
    module = o3.Linear(*irreps)
    check(module, torch.randn(rows, module.irreps_in.dim))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0)])
def test_biases_and_leading_dimensions(shape: tuple[int, ...]) -> None:
    module = o3.Linear("5x0e + 3x1o", "17x0e + 2x1o + 3x0e", biases=True)
    nn.init.normal_(module.bias)
    check(module, torch.randn(*shape, module.irreps_in.dim))


@pytest.mark.parametrize("species", [[0, 2, 2, 0, 2], [1], [], [3, 2, 1, 0] * 40], ids=len)
@pytest.mark.parametrize("irreps", IRREPS, ids=str)
def test_indexed(irreps: tuple[str, str], species: list[int]) -> None:
    module = o3.IndexedLinear(*irreps, 4)
    check(module, torch.randn(len(species), module.irreps_in.dim), torch.tensor(species, dtype=torch.long))


@pytest.mark.parametrize("species", [[0, 2, 2, 0, 2], [1], [], [3, 2, 1, 0] * 20], ids=len)
@pytest.mark.parametrize(
    "irreps",
    [("17x0e + 3x1o", "5x0e", "3x0e + 2x1o + 1x2e"), ("66x0e + 3x1o", "5x0e", "16x0e + 8x1o")],
    ids=["few matrices", "many matrices"],
)
def test_self_connection_by_species(irreps: tuple[str, str, str], species: list[int]) -> None:
    """As the product that knows nothing of species, also where a species is missing."""
    torch.manual_seed(0)
    by_species, general = SelfConnection(*irreps, 4).double(), SelfConnection(*irreps).double()
    index = torch.tensor(species, dtype=torch.long)
    x = torch.randn(len(index), by_species.irreps_in.dim, dtype=torch.float64)
    embedding = torch.randn(4, 5, dtype=torch.float64)

    def call(module: SelfConnection, *rest: Tensor) -> Callable[..., Tensor]:
        return lambda x, a, w: torch.func.functional_call(module, {"weight": w}, (x, a[index], *rest))

    inputs = (x, embedding, by_species.weight.detach())
    assert_same(call(by_species, index), call(general), inputs)


def test_species_first_met_in_inference_mode() -> None:
    module, species = SelfConnection("2x0e", "3x0e", "2x0e", 2), torch.tensor([1, 0, 1])
    x, attributes = torch.randn(3, 2), torch.randn(2, 3).requires_grad_()
    with torch.inference_mode():
        expected = module(x, attributes[species], species)
    out = module(x, attributes[species], species)
    assert torch.equal(out, expected)
    assert torch.autograd.grad(out.sum(), attributes)[0].any()


def test_transposed_and_not_contiguous() -> None:
    text = write_linear(
        o3.Irreps("3x0e + 2x1o"), o3.Irreps("4x0e + 5x1o"), 1, [(0, 0, 0, 0, 4, 0.5), (1, 1, 12, 0, 5, 2.0)]
    )
    w, x = torch.randn(22, dtype=torch.float64), torch.randn(9, 6, dtype=torch.float64).T[:, :9]
    unit = torch.eye(9, dtype=torch.float64)
    matrix = linear(unit, w, None, text, False)
    torch.testing.assert_close(linear(x, w, None, text, False), x @ matrix)
    o = torch.randn(6, 19, dtype=torch.float64)
    torch.testing.assert_close(linear(o, w, None, text, True), o @ matrix.T)
    assert_same(
        lambda o, w: linear(o, w, None, text, True), lambda o, w: o @ linear(unit, w, None, text, False).T, (o, w)
    )
    inputs = [t.clone().requires_grad_() for t in (x, o)]
    assert torch.autograd.gradcheck(lambda x, o: linear_weights(x, o, None, text, 22), inputs)
    assert torch.autograd.gradgradcheck(lambda x, o: linear_weights(x, o, None, text, 22), inputs)


def test_errors() -> None:
    module = o3.IndexedLinear("2x0e", "0e", 3)
    x = torch.randn(4, 2)
    with pytest.raises(IndexError, match="entry 1 has the index 3, which is not below 3"):
        module(x, torch.tensor([0, 3, 0, 0]))
    with pytest.raises(IndexError, match="entry 2 has the index -1, which is not below 3"):
        module(x, torch.tensor([0, 1, -1, 0]))
    with pytest.raises(ValueError, match=r"an index must be int64 .* got torch.int32 on cpu of shape \(4,\)"):
        module(x, torch.zeros(4, dtype=torch.int32))
    with pytest.raises(ValueError, match=r"index of shape \(n,\), got \(4, 2\) and \(3,\)"):
        module(x, torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"one type, got torch.float64 and torch.float32"):
        module(x.double(), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match=r"one type, got torch.float64 and torch.float32"):
        o3.Linear("2x0e", "0e")(x.double())
    text = write_linear(o3.Irreps("2x0e"), o3.Irreps("3x0e"), 2, [(0, 0, 0, 6, 3, 1.0)])
    index, w = torch.zeros(4, dtype=torch.long), torch.randn(12)
    with pytest.raises(ValueError, match=r"x must have shape \(n, 2\), got \(4, 3\)"):
        linear(torch.randn(4, 3), w, index, text, False)
    with pytest.raises(ValueError, match=r"w must have 12 elements, got shape \(11,\)"):
        linear(x, w[1:], index, text, False)
    with pytest.raises(ValueError, match=r"one entry for each of 4 rows, got shape \(5,\)"):
        linear(x, w, torch.zeros(5, dtype=torch.long), text, False)
    with pytest.raises(ValueError, match="equally many rows, and w 12 elements; got 4, 5 and 12"):
        linear_weights(x, torch.randn(5, 3), index, text, 12)

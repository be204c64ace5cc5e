"""What holds for every module of o3: copies, casts, state, compilation, export, torch.func, second derivatives."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from e3frame import o3
from e3frame.o3.experimental import ElementwiseTensorProductv2

A, B = "2x0e + 2x1o", "1x0o + 1x1e + 1x2e"
MODULES: dict[str, Callable[[], nn.Module]] = {
    "TensorProduct": lambda: o3.TensorProduct(A, A, A, [(0, 1, 1, "uvw", True), (1, 1, 0, "uuu", False)]),
    "FullyConnectedTensorProduct": lambda: o3.FullyConnectedTensorProduct(A, B, A),
    "FullTensorProduct": lambda: o3.FullTensorProduct(A, B),
    "FullTensorProductv2": lambda: o3.FullTensorProductv2(A, B),
    "ElementwiseTensorProduct": lambda: o3.ElementwiseTensorProduct(A, "3x1o + 1x2e"),
    "ElementwiseTensorProductv2": lambda: ElementwiseTensorProductv2(A, "3x1o + 1x2e"),
    "TensorSquare": lambda: o3.TensorSquare(A, "2x0e + 1x2e"),
    "Linear": lambda: o3.Linear(A, "3x0e + 1x1o", biases=True),
    "Norm": lambda: o3.Norm(A),
    "SphericalHarmonics": lambda: o3.SphericalHarmonics(range(4), True, "component"),
    "SphericalHarmonicsAlphaBeta": lambda: o3.SphericalHarmonicsAlphaBeta(range(4)),
    "Legendre": lambda: o3.Legendre(range(4)),
    "ReducedTensorProducts": lambda: o3.ReducedTensorProducts("ij=ji", i="1o + 0e"),
    "ToS2Grid": lambda: o3.ToS2Grid(2, (6, 7)),
    "FromS2Grid": lambda: o3.FromS2Grid((6, 7), 2),
}


def arguments(module: nn.Module, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Random inputs with a leading dimension of 3."""
    if isinstance(module, o3.TensorSquare | o3.Linear | o3.Norm | o3.SphericalHarmonics):
        shapes = [(module.irreps_in.dim,)]
    elif isinstance(module, o3.TensorProduct):
        shapes = [(module.irreps_in1.dim,), (module.irreps_in2.dim,)]
    elif isinstance(module, o3.ReducedTensorProducts):
        shapes = [(irreps.dim,) for irreps in module.irreps_in]
    elif isinstance(module, o3.SphericalHarmonicsAlphaBeta | o3.Legendre):
        shapes = [(), ()]
    else:
        shapes = [(9,)] if isinstance(module, o3.ToS2Grid) else [(6, 7)]
    return tuple(torch.randn(3, *shape, generator=generator) for shape in shapes)


def test_every_module_is_here() -> None:
    classes = {getattr(o3, name) for name in o3.__all__}
    modules = {c.__name__ for c in classes if isinstance(c, type) and issubclass(c, nn.Module)}
    # A grid has two functions and an index is no feature: they are tested with their own.
    assert modules - {"IndexedLinear", "SO3Grid"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_copies_casts_and_loads(name: str, generator: torch.Generator) -> None:
    module = MODULES[name]()
    xs = arguments(module, generator)
    expected = module(*xs)
    torch.testing.assert_close(copy.deepcopy(module)(*xs), expected, atol=0, rtol=0)
    again = MODULES[name]()
    again.load_state_dict(module.state_dict())
    torch.testing.assert_close(again(*xs), expected, atol=0, rtol=0)
    # Weights that float32 holds exactly come back as they were; so must everything else.
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.copy_(parameter.float())
    rounded = again(*xs)
    single = again.float()(*(x.float() for x in xs))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), rounded, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(again.double()(*xs), rounded, atol=0, rtol=0)


@pytest.mark.parametrize("name", MODULES)
def test_transforms_of_torch(name: str, generator: torch.Generator) -> None:
    module = MODULES[name]()
    xs = arguments(module, generator)
    expected = module(*xs)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(module, fullgraph=True, backend="aot_eager")(*xs), expected)
    torch.testing.assert_close(torch.export.export(module, xs).module()(*xs), expected)
    torch.testing.assert_close(torch.func.vmap(module)(*xs), expected)
    tangents = tuple(torch.randn_like(x) for x in xs)
    _, forward = torch.func.jvp(module, xs, tangents)
    (reverse,) = torch.func.vjp(lambda *ts: torch.func.jvp(module, xs, ts)[1], *tangents)[:1]
    torch.testing.assert_close(forward, reverse)
    assert torch.autograd.gradgradcheck(module, tuple(x.requires_grad_() for x in xs), fast_mode=True)

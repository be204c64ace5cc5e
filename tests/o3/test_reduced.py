"""Reduced tensor products: e3nn's irreps and change of basis, equivariance, casts and the transforms of torch."""

from __future__ import annotations

import copy

import e3nn.o3
import pytest
import torch
from torch import Tensor

from e3frame import o3

CLOSE = {"atol": 1e-12, "rtol": 0}
CASES: list[tuple[str, dict]] = [
    ("i", {"i": "1o + 0e"}),
    ("ij", {"i": "1o", "j": "1e + 0e"}),
    ("ij=ji", {"i": "1o"}),
    ("ij=-ji", {"j": "1o"}),
    ("ij=ji", {"i": "2x1o + 0e + 1o"}),
    ("ijk=jki", {"i": "1o"}),
    ("ijk=-jik=-ikj", {"i": "1o"}),
    ("ijk=jik", {"i": "0e + 1o", "k": "2e"}),
    ("ijk=jik=ikj", {"i": "2x1o", "filter_ir_out": ["1o", "3o"]}),
    ("ijk=-jik", {"i": "0e + 1o", "k": "1o", "filter_ir_mid": ["0e", "1o", "1e"]}),
    ("ijkl=jikl=ijlk=klij", {"i": "1o"}),
]


def inputs(module: o3.ReducedTensorProducts, generator: torch.Generator, *lead: int) -> list[Tensor]:
    return [torch.randn(*lead, irreps.dim, generator=generator) for irreps in module.irreps_in]


@pytest.mark.parametrize(("formula", "options"), CASES)
def test_is_that_of_e3nn(formula: str, options: dict, generator: torch.Generator) -> None:
    ours, theirs = (library.ReducedTensorProducts(formula, **options) for library in (o3, e3nn.o3))
    assert repr(ours) == repr(theirs)
    assert list(map(repr, ours.irreps_in)) == list(map(repr, theirs.irreps_in))
    torch.testing.assert_close(ours.change_of_basis, theirs.change_of_basis, **CLOSE)
    xs = inputs(ours, generator, 3)
    torch.testing.assert_close(ours(*xs), theirs(*xs), **CLOSE)
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == ["change_of_basis"]


@pytest.mark.parametrize(("formula", "options"), CASES)
def test_equivariant(formula: str, options: dict, motion: Tensor, generator: torch.Generator) -> None:
    module = o3.ReducedTensorProducts(formula, **options)
    xs = inputs(module, generator)
    moved = [irreps.D_from_matrix(motion) @ x for irreps, x in zip(module.irreps_in, xs, strict=True)]
    torch.testing.assert_close(module(*moved), module.irreps_out.D_from_matrix(motion) @ module(*xs), **CLOSE)


def test_reduces_no_tensor() -> None:
    module = o3.ReducedTensorProducts("ij=-ji", i="0e")
    assert module.irreps_out == ()
    assert module(torch.ones(2, 1), torch.ones(2, 1)).shape == (2, 0)


def test_transforms_of_torch(generator: torch.Generator) -> None:
    module = o3.ReducedTensorProducts("ijk=jik", i="1o", k="0e + 1o")
    xs = tuple(inputs(module, generator, 2))
    expected = module(*xs)
    torch.testing.assert_close(torch.compile(module, fullgraph=True, backend="aot_eager")(*xs), expected)
    torch.testing.assert_close(torch.export.export(module, xs).module()(*xs), expected)
    torch.testing.assert_close(torch.func.vmap(module)(*xs), expected)
    _, tangent = torch.func.jvp(module, xs, xs)
    torch.testing.assert_close(tangent, 3 * expected)
    arguments = tuple(x.requires_grad_() for x in xs)
    assert torch.autograd.gradgradcheck(module, arguments, fast_mode=True)
    exact = copy.deepcopy(module)
    assert torch.equal(exact.float().double().change_of_basis, module.change_of_basis)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"filter_ir_out must be a list of irreps, got \['5'\]"):
        o3.ReducedTensorProducts("ij=ji", filter_ir_out=["5"], i="1o")
    with pytest.raises(ValueError, match=r"expected 2 tensors with last dimensions \[3, 3\], got shapes \[\(3,\)\]"):
        o3.ReducedTensorProducts("ij=ji", i="1o")(torch.ones(3))

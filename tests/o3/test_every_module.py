"""Properties of every module of o3: copies, casts, state, compilation, export, torch.func, second derivatives."""

from __future__ import annotations

import pytest
import torch
from support.modules import CHECKS, Call, Case, run_check
from torch import nn

from e3frame import o3
from e3frame.o3.experimental import ElementwiseTensorProductv2

A, B = "2x0e + 2x1o", "1x0o + 1x1e + 1x2e"  # of dimensions 8 and 9
PATHS = [(0, 1, 1, "uvw", True), (1, 1, 0, "uuu", False), (1, 0, 1, "uvu", True)]
SPECIES = torch.tensor([0, 2, 1])
CASES: dict[str, Case] = {
    "TensorProduct": Case(lambda: o3.TensorProduct(A, A, A, PATHS), ((3, 8), (3, 8))),
    "TensorProduct, weights given": Case(
        lambda: o3.TensorProduct(A, A, A, PATHS, shared_weights=False), ((3, 8), (3, 8), (3, 12))
    ),
    "TensorProduct.right": Case(lambda: Call(o3.TensorProduct(A, A, A, PATHS), "right"), ((3, 8),)),
    "FullyConnectedTensorProduct": Case(lambda: o3.FullyConnectedTensorProduct(A, B, A), ((3, 8), (3, 9))),
    "FullTensorProduct": Case(lambda: o3.FullTensorProduct(A, B), ((3, 8), (3, 9))),
    "FullTensorProductv2": Case(lambda: o3.FullTensorProductv2(A, B), ((3, 8), (3, 9))),
    "ElementwiseTensorProduct": Case(lambda: o3.ElementwiseTensorProduct(A, "3x1o + 1x2e"), ((3, 8), (3, 14))),
    "ElementwiseTensorProductv2": Case(lambda: ElementwiseTensorProductv2(A, "3x1o + 1x2e"), ((3, 8), (3, 14))),
    "TensorSquare": Case(lambda: o3.TensorSquare(A, "2x0e + 1x2e"), ((3, 8),)),
    "Linear": Case(lambda: o3.Linear(A, "3x0e + 1x1o", biases=True), ((3, 8),)),
    "Linear, channels": Case(lambda: o3.Linear(A, A, f_in=2, f_out=4), ((3, 2, 8),)),
    "IndexedLinear": Case(lambda: o3.IndexedLinear(A, "3x0e + 1x1o", 3), ((3, 8),), (SPECIES,)),
    "SymmetricProduct": Case(lambda: o3.SymmetricProduct(A, "4x0e + 2x1o", 3), ((3, 8),)),
    "SymmetricProduct, indexed": Case(lambda: o3.SymmetricProduct(A, "2x1o", 2, 3), ((3, 8),), (SPECIES,)),
    "Norm": Case(lambda: o3.Norm(A), ((3, 8),)),
    "SphericalHarmonics": Case(lambda: o3.SphericalHarmonics(range(4), True, "component"), ((3, 3),)),
    "SphericalHarmonicsAlphaBeta": Case(lambda: o3.SphericalHarmonicsAlphaBeta(range(4)), ((3,), (3,))),
    "Legendre": Case(lambda: o3.Legendre(range(4)), ((3,), (3,))),
    "ReducedTensorProducts": Case(lambda: o3.ReducedTensorProducts("ij=ji", i="1o + 0e"), ((3, 4), (3, 4))),
    "ToS2Grid": Case(lambda: o3.ToS2Grid(2, (6, 7)), ((3, 9),)),
    "FromS2Grid": Case(lambda: o3.FromS2Grid((6, 7), 2), ((3, 6, 7),)),
    "SO3Grid.to_grid": Case(lambda: Call(o3.SO3Grid(1, 2), "to_grid"), ((3, 10),)),
    "SO3Grid.from_grid": Case(lambda: Call(o3.SO3Grid(1, 2), "from_grid"), ((3, 8, 4, 8),)),
}
INDUCTOR = ("TensorProduct", "Linear", "SphericalHarmonics", "SymmetricProduct")


def test_every_module_is_here() -> None:
    classes = {getattr(o3, name) for name in o3.__all__}
    modules = {c.__name__ for c in classes if isinstance(c, type) and issubclass(c, nn.Module)}
    assert modules == {name.split(",")[0].split(".")[0] for name in CASES} - {"ElementwiseTensorProductv2"}


@pytest.mark.parametrize("check", [name for name in CHECKS if name != "inductor"])
@pytest.mark.parametrize("name", CASES)
def test_holds(name: str, check: str) -> None:
    run_check(check, CASES[name])


@pytest.mark.parametrize("name", INDUCTOR)
def test_compiles_with_inductor(name: str) -> None:
    run_check("inductor", CASES[name])

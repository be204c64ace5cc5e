"""What holds for every block: copies, casts, state, compilation, export, torch.func, second derivatives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.modules import CHECKS, Case, run_check
from torch import Tensor

from e3frame import nn
from e3frame.algebra.paths import plan_channelwise

IRREPS = "4x0e+2x0o+3x1o"  # of dimension 15
SPECIES = torch.tensor([0, 1, 2, 0, 1])
EDGES = torch.tensor([[1, 2, 3, 4, 0, 0, 2], [0, 0, 1, 1, 2, 3, 4]])
BATCH = torch.tensor([0, 0, 1, 1, 1])
RADII = (0.31, 0.76, 0.66)

ROWS = ((5, 15),)
RANDOM = {"vmap": ("the caller of vmap says whether its rows draw alike", "randomness error mode")}
TURNED = {**RANDOM, "cast": ("float32 draws other angles than float64", "not close")}
RUNNING = {"vmap": ("each row would move the running averages to its own", "lerp_.* is not possible")}
INTEGERS = {
    "jvp": ("indices have no derivatives", "at least one Tensor"),
    "dual": ("indices have no derivatives", "at least one Tensor"),
    "second derivatives": ("indices have no derivatives", "at least one input tensor"),
}
FLOAT64 = {"cast": ("energies stay float64, whose sum has no meV digits in float32", "float64 != torch.float32")}


class Positive(torch.nn.Module):
    """A module of a length, which is no negative number."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, d: Tensor, *others: Tensor) -> Tensor:
        return self.module(d.square(), *others)


class NumbersFirst(torch.nn.Module):
    """A module whose indices come after the numbers, in the order in which the module itself takes them."""

    def __init__(self, module: torch.nn.Module, order: tuple[int, ...]) -> None:
        super().__init__()
        self.module, self.order = module, order

    def forward(self, *arguments: Any) -> Tensor:
        return self.module(*(arguments[k] for k in self.order))


class MessageNumbersFirst(torch.nn.Module):
    """A message whose indices come after the numbers."""

    def __init__(self, message: nn.Message) -> None:
        super().__init__()
        self.message = message

    def forward(self, x: Tensor, edge_sh: Tensor, weights: Tensor, edge_index: Tensor) -> Tensor:
        return self.message(x, edge_index, edge_sh, weights)


CASES: dict[str, Case] = {
    "Activation": Case(lambda: nn.Activation(IRREPS, ["silu", "tanh", None]), ROWS),
    "Add": Case(nn.Add, (*ROWS, *ROWS, *ROWS)),
    "AgnesiTransform": Case(lambda: Positive(nn.AgnesiTransform(RADII)), ((7,),), (SPECIES, EDGES)),
    "BatchNorm, training": Case(lambda: nn.BatchNorm(IRREPS), ROWS, without=RUNNING),
    "BatchNorm, largest": Case(lambda: nn.BatchNorm(IRREPS, reduce="max"), ((5, 3, 15),), without=RUNNING),
    "BatchNorm, evaluation": Case(lambda: nn.BatchNorm(IRREPS), ROWS, training=False),
    "BatchNorm, instances": Case(lambda: nn.BatchNorm(IRREPS, instance=True), ((5, 3, 15),)),
    "BesselBasis": Case(lambda: nn.BesselBasis(5.0, 4, trainable=True), ((5,),)),
    "ChebyshevBasis": Case(lambda: nn.ChebyshevBasis(5.0, 4), ((5,),)),
    "Concatenate": Case(nn.Concatenate, (*ROWS, (5, 3))),
    "Convolution": Case(
        lambda: NumbersFirst(nn.Convolution(IRREPS, "0e+1o", IRREPS, 4, [8], 3, 2.0), (0, 3, 4, 1, 2)),
        (*ROWS, (7, 4), (7, 4)),
        (SPECIES, EDGES),
    ),
    "Dropout, training": Case(lambda: nn.Dropout(IRREPS, 0.5), ROWS, without=RANDOM),
    "Dropout, evaluation": Case(lambda: nn.Dropout(IRREPS, 0.5), ROWS, training=False),
    "EdgesToNodes": Case(lambda: nn.EdgesToNodes("sum", 2.0), ((7, 15),), (EDGES, SPECIES)),
    "EdgesToNodes, mean": Case(lambda: nn.EdgesToNodes("mean"), ((7, 15),), (EDGES, SPECIES)),
    "EdgeVectors": Case(nn.EdgeVectors, ((5, 3),), (EDGES,)),
    "Extract": Case(lambda: nn.Extract(IRREPS, ["3x1o+4x0e", "2x0o"], [(2, 0), (1,)]), ROWS),
    "ExtractIr": Case(lambda: nn.ExtractIr(IRREPS, "1o"), ROWS),
    "FullyConnectedNet": Case(lambda: nn.FullyConnectedNet([15, 3, 2], "silu", out_act=True, bias=True), ROWS),
    "Gate": Case(lambda: nn.Gate("2x0e", ["silu"], "3x0e", ["sigmoid"], "3x1o"), ((5, 14),)),
    "GaussianBasis": Case(lambda: nn.GaussianBasis(5.0, 4), ((5,),)),
    "CosineEnvelope": Case(lambda: nn.CosineEnvelope(5.0), ((5,),)),
    "Identity": Case(lambda: nn.Identity(IRREPS, IRREPS), ROWS),
    "LayerNorm": Case(lambda: nn.LayerNorm(IRREPS), ROWS),
    "Message": Case(
        lambda: MessageNumbersFirst(nn.Message(plan_channelwise(IRREPS, "0e+1o", "0e+1o", weights=True), 2.0)),
        (*ROWS, (7, 4), (7, 14)),
        (EDGES,),
    ),
    "GraphToNodes": Case(nn.GraphToNodes, ((2, 15),), (BATCH,)),
    "NodesToEdges": Case(nn.NodesToEdges, ROWS, (EDGES,)),
    "NormActivation": Case(lambda: nn.NormActivation(IRREPS, "silu", bias=True), ROWS),
    "PerSpeciesScaleShift": Case(
        lambda: nn.PerSpeciesScaleShift([1.0, 2.0, 3.0], [0.0, 1.0, 2.0]), ((5, 1),), (SPECIES,), without=FLOAT64
    ),
    "Pool": Case(lambda: nn.Pool("mean"), ((5, 3),), (SPECIES, BATCH, 2)),
    "Pool, energies": Case(
        lambda: nn.Pool("sum", nn.PerSpeciesScaleShift([1.0, 2.0, 3.0], [0.0, 1.0, 2.0])),
        ((5, 1),),
        (SPECIES, BATCH, 2),
        without=FLOAT64,
    ),
    "NegativeGradient": Case(nn.NegativeGradient, ((5, 3),)),
    "Pool, with more": Case(lambda: NumbersFirst(nn.Pool("sum"), (0, 2, 3, 4, 1)), (*ROWS, *ROWS), (SPECIES, BATCH, 2)),
    "PolynomialEnvelope": Case(lambda: nn.PolynomialEnvelope(5.0), ((5,),)),
    "RMSNorm": Case(lambda: nn.RMSNorm(IRREPS), ROWS),
    "RadialBasis": Case(lambda: nn.RadialBasis(nn.BesselBasis(5.0, 4), nn.PolynomialEnvelope(5.0)), ((5, 3),)),
    "RadialBasis, transformed": Case(
        lambda: nn.RadialBasis(nn.GaussianBasis(5.0, 4), nn.PolynomialEnvelope(5.0), nn.SoftTransform(RADII)),
        ((7, 3),),
        (SPECIES, EDGES),
    ),
    "S2Activation": Case(lambda: nn.S2Activation("0e+1o+2e", "tanh", 8), ((5, 9),)),
    "S2Activation, turned": Case(
        lambda: nn.S2Activation("0e+1o+2e", "tanh", 8, random_rot=True), ((5, 9),), without=TURNED
    ),
    "SO3Activation": Case(lambda: nn.SO3Activation(1, 1, "tanh", 2), ((5, 10),)),
    "SelfConnection": Case(lambda: nn.SelfConnection(IRREPS, "4x0e", IRREPS), (*ROWS, (5, 4))),
    "SoftTransform": Case(lambda: nn.SoftTransform(RADII), ((7,),), (SPECIES, EDGES)),
    "SpeciesEmbedding": Case(lambda: nn.SpeciesEmbedding(3, "4x0e"), (), (SPECIES,)),
    "SpeciesIndex": Case(lambda: nn.SpeciesIndex([1, 6]), (), (torch.tensor([6, 1]),), without=INTEGERS),
    "XplorEnvelope": Case(lambda: nn.XplorEnvelope(0.01, 5.0), ((5,),)),
    "ZBL": Case(lambda: nn.ZBL([1, 6, 8], RADII, 2.0), ((7, 3),), (SPECIES, EDGES)),
}
INDUCTOR = ("Gate",)


def test_every_module_is_here() -> None:
    classes = {getattr(nn, name) for name in nn.__all__}
    modules = {c.__name__ for c in classes if isinstance(c, type) and issubclass(c, torch.nn.Module)}
    assert modules == {name.split(",")[0] for name in CASES}


@pytest.mark.parametrize("check", [name for name in CHECKS if name != "inductor"])
@pytest.mark.parametrize("name", CASES)
def test_holds(name: str, check: str) -> None:
    run_check(check, CASES[name])


@pytest.mark.parametrize("name", INDUCTOR)
def test_compiles_with_inductor(name: str) -> None:
    run_check("inductor", CASES[name])

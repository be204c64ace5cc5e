"""Weights of e3nn's modules in a file, in the layout and normalization of ours."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from e3frame.algebra.irreps import Irrep, Irreps, IrrepsLike
from e3frame.algebra.paths import plan_fully_connected, plan_linear
from e3frame.convert.modules import Module
from e3frame.convert.records import Global, Record, elements, members
from e3frame.math.moments import normalize2mom
from e3frame.nn.activation import activation
from e3frame.spec.words import printable

Matrices = dict[Irrep, Tensor]
"""A linear map: for each irrep a matrix ([species,] copies in, copies out) without any normalization. Copies are
counted over all terms of the irrep, in order."""


class Path(NamedTuple):
    """One path of a product of e3nn: ``out[i_out] += path_weight w in1[i_in1] ⊗ in2[i_in2]``."""

    i_in1: int
    i_in2: int
    i_out: int
    mode: str
    shape: tuple[int, ...]
    path_weight: float


def product_paths(module: Module) -> list[Path]:
    """The paths of a ``TensorProduct``, in the order of their weights.

    Raises:
        NotUnderstood: they are of another form.
    """
    found = []
    for raw in elements(module.attribute("instructions")):
        values = elements(raw)
        if len(values) != 7 or not all(type(n) is int for n in (*values[:3], *elements(values[6]))):
            raise module.error("its paths are of an unknown form", "instructions")
        i_in1, i_in2, i_out, mode, _, weight, shape = values
        found.append(Path(i_in1, i_in2, i_out, str(mode), tuple(elements(shape)), float(weight)))
    return found


def linear(module: Module) -> Matrices:
    """The matrices of an ``o3.Linear`` without biases."""
    irreps_in, irreps_out = module.irreps("irreps_in"), module.irreps("irreps_out")
    if module.holds("bias") and module.tensor("bias").numel():
        raise module.error("biases are not known here", "bias")
    paths = []
    for raw in elements(module.attribute("instructions")):
        values = elements(raw)
        if len(values) != 4 or type(values[0]) is not int or type(values[1]) is not int:
            raise module.error("its paths are of an unknown form", "instructions")
        paths.append((values[0], values[1], float(values[3])))
    blocks = _blocks(module, module.tensor("weight"), [(irreps_in[i].mul, irreps_out[k].mul) for i, k, _ in paths])
    return _assembled(module, irreps_in, irreps_out, zip(paths, blocks, strict=True), ())


def linear_per_species(module: Module) -> Matrices:
    """The matrices (species, in, out) of a ``FullyConnectedTensorProduct`` with the one-hot vectors of species."""
    irreps_in, irreps_out = module.irreps("irreps_in1"), module.irreps("irreps_out")
    paths = product_paths(module)
    blocks = _blocks(module, module.tensor("weight"), [path.shape for path in paths])
    species = module.irreps("irreps_in2").dim
    found = []
    for path, block in zip(paths, blocks, strict=True):
        if path.mode != "uvw" or block.shape[1] != species:
            raise module.error("it is no linear map per species")
        # The coupling (l, 0, l) is the identity divided by √(2l + 1).
        factor = path.path_weight * irreps_out[path.i_out].ir.dim ** -0.5
        found.append(((path.i_in1, path.i_out, factor), block.transpose(0, 1)))
    return _assembled(module, irreps_in, irreps_out, found, (species,))


def _blocks(module: Module, weight: Tensor, shapes: list[tuple[int, ...]]) -> list[Tensor]:
    """The weights of each path."""
    sizes = [prod(shape) for shape in shapes]
    if weight.ndim != 1 or weight.numel() != sum(sizes):
        raise module.error(f"{sum(sizes)} numbers are required, got shape {list(weight.shape)}", "weight")
    return [part.reshape(shape) for part, shape in zip(weight.split(sizes), shapes, strict=True)]


def copies(irreps: Irreps) -> list[slice]:
    """For each term, the copies of its irrep that it holds, counted over all terms of this irrep."""
    seen: dict[Irrep, int] = {}
    found = []
    for mul, ir in irreps:
        first = seen.get(ir, 0)
        found.append(slice(first, first + mul))
        seen[ir] = first + mul
    return found


def _assembled(
    module: Module,
    irreps_in: Irreps,
    irreps_out: Irreps,
    blocks: Iterable[tuple[tuple[int, int, float], Tensor]],
    rows: tuple[int, ...],
) -> Matrices:
    """Matrices whose blocks are given by the numbers of the terms that they connect, and a factor.

    Raises:
        NotUnderstood: the blocks are not those of all pairs of equal irreps.
    """
    made: Matrices = {}
    blocks = list(blocks)
    sizes = (irreps_in.count(ir) * irreps_out.count(ir) for ir in {ir for _, ir in irreps_in})
    if sum(sizes) * prod(rows) != sum(block.numel() for _, block in blocks):
        raise module.error("its paths are not those of all pairs of equal irreps")
    copies_in, copies_out = copies(irreps_in), copies(irreps_out)
    for (i, k, factor), block in blocks:
        ir = irreps_in[i].ir
        if ir not in made:
            made[ir] = block.new_zeros(*rows, irreps_in.count(ir), irreps_out.count(ir), dtype=torch.float64)
        made[ir][..., copies_in[i], copies_out[k]] += factor * block
    return made


def our_linear(matrices: Matrices, irreps_in: IrrepsLike, irreps_out: IrrepsLike) -> Tensor:
    """The weights of our ``o3.Linear`` that give these matrices: (weight_numel,), float64."""
    plan = plan_linear(irreps_in, irreps_out)
    copies_in, copies_out = copies(plan.irreps_in), copies(plan.irreps_out)
    parts = [
        matrices[plan.irreps_in[ins.i_in].ir][copies_in[ins.i_in], copies_out[ins.i_out]] / ins.path_weight
        for ins in plan.instructions
    ]
    return torch.cat([part.flatten() for part in parts])


def our_linear_per_species(matrices: Matrices, irreps_in: IrrepsLike, irreps_out: IrrepsLike) -> Tensor:
    """The weights of our ``o3.IndexedLinear`` that give these matrices: (weight_numel,), float64."""
    species = next(iter(matrices.values())).shape[0]
    plan = plan_fully_connected(irreps_in, f"{species}x0e", irreps_out)
    copies_in, copies_out = copies(plan.irreps_in1), copies(plan.irreps_out)
    parts = []
    for ins in plan.instructions:
        ir = plan.irreps_in1[ins.i_in1].ir
        block = matrices[ir][:, copies_in[ins.i_in1], copies_out[ins.i_out]]
        parts.append(block.transpose(0, 1) / (ins.path_weight * ir.dim**-0.5))
    return torch.cat([part.flatten() for part in parts])


def network(module: Module) -> list[Tensor]:
    """The weights of each layer of a ``FullyConnectedNet`` with silu, for ours of the same sizes.

    Raises:
        NotUnderstood: another activation, or variances other than 1.
    """
    layers = [module.module(name) for name, _ in members(module.record, "_modules")]
    found, factor = [], 1.0
    for k, layer in enumerate(layers):
        if float(layer.attribute("var_in")) != 1.0 or float(layer.attribute("var_out")) != 1.0:
            raise layer.error("variances other than 1 are not known here")
        if layer.has("act") == (k == len(layers) - 1):
            raise layer.error("silu is required after each layer but the last")
        found.append(layer.tensor("weight", -1, -1) * factor)
        if layer.has("act"):
            name, factor = normalized(layer.module("act"))
            if name != "silu":
                raise layer.error(f"silu is required, got {name}", "act")
    return found


def function_name(found: Any) -> str:
    """The name of a function of torch; empty if it is none."""
    if isinstance(found, Record) and found.name == "builtins.getattr" and len(found.args) == 2:
        return f"torch.{found.args[1]}" if found.args[0] == Global("torch._C._VariableFunctionsClass") else ""
    return found.name if isinstance(found, Global) else ""


def normalized(module: Module) -> tuple[str, float]:
    """A ``normalize2mom``: the name of its function, and its factor divided by ours, which is 1 but for rounding."""
    known = {"torch.nn.functional.silu": "silu", "torch.tanh": "tanh", "torch.abs": "abs"}
    name = function_name(module.attribute("f"))
    if name not in known:
        raise module.error(f"this function is not known here: {printable(name, 60) or 'unnamed'}", "f")
    return known[name], float(module.attribute("cst")) / normalize2mom(activation(known[name])).cst

"""Weights of a trained model for the layers of another one."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from e3frame.config.init import Transfer, layer_of
from e3frame.inference.saved import SavedModel
from e3frame.network import Model
from e3frame.nn.species import SpeciesEmbedding
from e3frame.o3.indexed_linear import IndexedLinear


@torch.no_grad()
def apply(transfer: Transfer, model: Model, plugins: Collection[str] = ()) -> None:
    """Give a model the weights that are kept, and freeze what is frozen.

    What belongs to a species goes to the same species; a species that the trained model does not know keeps the weights
    drawn for it. Scales and shifts of outputs are those of the new data.
    """
    trained = SavedModel.read(transfer.path, plugins).build()
    rows = [trained.spec.species.index(s) if s in trained.spec.species else None for s in model.spec.species]
    for name, module in model.named_modules():
        if not list(module.parameters(recurse=False)) and not list(module.buffers(recurse=False)):
            continue
        if not name.startswith("layers.") or layer_of(name) not in transfer.kept:
            continue
        source = trained.get_submodule(name)
        if isinstance(module, SpeciesEmbedding):
            _copy_rows(module.weight, source.weight.to(module.weight), rows, 0)
        elif isinstance(module, IndexedLinear):
            _copy_indexed(module, source, rows)
        else:
            _copy(module, source)
    for name, parameter in model.named_parameters():
        if layer_of(name) in transfer.frozen:
            parameter.requires_grad_(False)


def _copy(module: nn.Module, source: nn.Module) -> None:
    held = {**dict(source.named_parameters(recurse=False)), **dict(source.named_buffers(recurse=False))}
    for own in (module.named_parameters(recurse=False), module.named_buffers(recurse=False)):
        for name, tensor in own:
            tensor.copy_(held[name])


def _copy_rows(target: Tensor, source: Tensor, rows: list[int | None], dim: int) -> None:
    for index, row in enumerate(rows):
        if row is not None:
            target.select(dim, index).copy_(source.select(dim, row))


def _copy_indexed(module: IndexedLinear, source: IndexedLinear, rows: list[int | None]) -> None:
    """Weights of each path as (u, species, w); the normalization counts the species, which is made up for."""
    pairs = zip(module.plan.instructions, source.plan.instructions, strict=True)
    for (ins, held), where, there in zip(pairs, module.plan.weight_slices, source.plan.weight_slices, strict=True):
        weights = source.weight[there].unflatten(0, held.path_shape) * (held.path_weight / ins.path_weight)
        _copy_rows(module.weight[where].unflatten(0, ins.path_shape), weights.to(module.weight), rows, 1)

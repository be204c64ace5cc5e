"""Weights of a trained model for the layers of a new one."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import nn

from e3frame.config.init import Transfer, layer_of
from e3frame.inference.saved import SavedModel
from e3frame.network import Model
from e3frame.nn.parameters import Rows, species_rows


@torch.no_grad()
def apply(transfer: Transfer, model: Model, plugins: Collection[str] = ()) -> None:
    """Copy the kept weights into a model, and freeze layers, as planned by a Transfer.

    Weights of a species are copied to the same species; species that the trained model lacks keep their random weights.
    Scales and shifts of outputs follow the new data.
    """
    trained = SavedModel.read(transfer.path, plugins).build()
    rows = [trained.spec.species.index(s) if s in trained.spec.species else None for s in model.spec.species]
    for name, module in model.named_modules():
        if not list(module.parameters(recurse=False)) and not list(module.buffers(recurse=False)):
            continue
        if not name.startswith("layers.") or layer_of(name) not in transfer.kept:
            continue
        _copy(module, trained.get_submodule(name), rows)
    for name, parameter in model.named_parameters():
        if layer_of(name) in transfer.frozen:
            parameter.requires_grad_(False)


def _copy(module: nn.Module, source: nn.Module, rows: Sequence[int | None]) -> None:
    """Copy a module's own parameters and buffers; those with rows for the species row by row."""
    per_species, theirs = species_rows(module), species_rows(source)
    held = {**dict(source.named_parameters(recurse=False)), **dict(source.named_buffers(recurse=False))}
    for own in (module.named_parameters(recurse=False), module.named_buffers(recurse=False)):
        for name, tensor in own:
            if name not in per_species:
                tensor.copy_(held[name])
                continue
            for target, origin in zip(per_species[name], theirs[name], strict=True):
                _copy_rows(Rows(*target), Rows(*origin), rows)


def _copy_rows(target: Rows, source: Rows, rows: Sequence[int | None]) -> None:
    scale = source.factor / target.factor
    for index, row in enumerate(rows):
        if row is not None:
            target.view.select(target.axis, index).copy_(source.view.select(source.axis, row) * scale)

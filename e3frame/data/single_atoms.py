"""Frames of one atom without neighbours: their energies are the reference energies, not something to train on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e3frame.data.dataset import Splits
from e3frame.data.frameset import FrameSet
from e3frame.spec.elements import ATOMIC_NUMBERS, SYMBOLS
from e3frame.spec.words import counted

KEY = "data.single_atoms=frames"
BINDING = 20.0
"""eV per atom: nothing is bound by more, so that such atoms are of another level of theory than the other frames."""


class SingleAtoms(NamedTuple):
    """Reference energies in eV from the frames of single atoms, and what the user should know about them."""

    energies: dict[str, float]
    said: tuple[str, ...] = ()


def set_apart(splits: Splits, energy: str | None) -> tuple[Splits, SingleAtoms]:
    """The splits without single atoms that have an energy, and these energies.

    Args:
        energy: the label; None: all frames stay.
    """
    if energy is None:
        return splits, SingleAtoms({})
    masks = {name: _single(dataset, energy) for name, dataset in splits.items()}
    number = sum(int(mask.sum()) for mask in masks.values())
    if not number or bool(masks["train"].all()):
        return splits, SingleAtoms({})
    energies, several = _lowest([(splits_set, masks[name]) for name, splits_set in splits.items()], energy)
    rest = {name: dataset[~masks[name]] for name, dataset in splits.items() if not bool(masks[name].all())}
    what = f"{counted(number, 'frame')} of single atoms ({', '.join(energies)})"
    off = _off(rest["train"], energy, energies)
    if abs(off) > BINDING:
        text = f"{what} do not go with the {energy} of the other frames, which are {off:.4g} eV per atom above them: "
        return splits, SingleAtoms({}, (text + "another level of theory? They are trained on like all other frames",))
    said = [f"{what} are reference energies and not trained on; {KEY} trains on them"]
    if several:
        said.append(f"of the several energies of a single {', '.join(several)} the lowest is taken")
    return Splits(**{name: rest.get(name) for name in ("train", "val", "test")}), SingleAtoms(energies, tuple(said))


def _single(dataset: FrameSet, energy: str) -> Tensor:
    """(frames,) which are of one atom, without neighbours and with an energy."""
    found = (dataset.counts("z") == 1) & (dataset.counts("edge_index") == 0)
    if not found.any() or not dataset.has(energy):
        return torch.zeros_like(found)
    return found & torch.cat([block.values[energy].reshape(-1).isfinite() for block in dataset.blocks(energy)])


def _lowest(parts: list[tuple[FrameSet, Tensor]], energy: str) -> tuple[dict[str, float], list[str]]:
    """The lowest energy of each element, and the elements that have several."""
    values: dict[int, list[float]] = {}
    for dataset, mask in parts:
        for index in mask.nonzero().flatten().tolist():
            graph = dataset[index]
            values.setdefault(int(graph.z[0]), []).append(float(graph[energy]))
    several = [SYMBOLS[z] for z, found in sorted(values.items()) if max(found) - min(found) > 1e-6]
    return {SYMBOLS[z]: min(found) for z, found in sorted(values.items())}, several


def _off(dataset: FrameSet, energy: str, energies: Mapping[str, float]) -> float:
    """Median over the frames whose elements are all known: energy per atom above that of the single atoms."""
    table = np.full(len(SYMBOLS), np.nan)
    for symbol, value in energies.items():
        table[ATOMIC_NUMBERS[symbol]] = value
    above: list[NDArray[np.float64]] = []
    for block in dataset.blocks("z", energy):
        sums = np.zeros(len(block.atoms))
        np.add.at(sums, block.frame.numpy(), table[block.values["z"].numpy()])
        above.append((block.values[energy].numpy().reshape(-1) - sums) / block.atoms.numpy())
    held = np.concatenate(above)
    held = held[np.isfinite(held)]
    return float(np.median(held)) if len(held) else 0.0

"""Frames with a single isolated atom, whose energies are reference energies instead of training data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e3frame.data.pipeline.dataset import Splits
from e3frame.data.pipeline.frameset import FrameSet
from e3frame.data.sources.base import ALLOW_ISOLATED
from e3frame.spec.elements import ATOMIC_NUMBERS, SYMBOLS
from e3frame.spec.errors import DataError
from e3frame.spec.statistics import Shifts
from e3frame.spec.words import counted

KEY = "data.single_atoms=frames"
BINDING = 20.0
"""Largest plausible binding energy in eV per atom; above it, the atoms have another level of theory than the frames."""
SAME = 1e-3
"""Tolerance in eV for equal reference energies."""


class SingleAtoms(NamedTuple):
    """Reference energies in eV from frames of single atoms.

    Attributes:
        energies: lowest energy of each element.
        remarks: messages to the user.
        what: number and elements of the frames, for messages.
        label: label of the energies.
    """

    energies: dict[str, float]
    remarks: tuple[str, ...] = ()
    what: str = ""
    label: str | None = None

    def known(self, label: str | None) -> dict[str, float]:
        """Return the energies if they have this label; otherwise, none."""
        return self.energies if label == self.label else {}


def set_apart(splits: Splits, shifts: Shifts | None, allowed: bool = True) -> tuple[Splits, SingleAtoms]:
    """Remove single atoms that have an energy from the splits; return the other frames and these energies.

    Args:
        shifts: reference energies of the model. If they are numbers that differ from the energies of the single atoms,
            or None, all frames stay.
        allowed: whether atoms may have no neighbours.

    Raises:
        DataError: the single atoms stay because the model's numbers differ, but atoms must have neighbours.
    """
    if shifts is None:
        return splits, SingleAtoms({})
    energy = shifts.label
    masks = {name: _single(dataset, energy) for name, dataset in splits.items()}
    number = sum(int(mask.sum()) for mask in masks.values())
    if not number or bool(masks["train"].all()):
        return splits, SingleAtoms({})
    energies, several = _lowest([(splits_set, masks[name]) for name, splits_set in splits.items()], energy)
    rest = {name: dataset[~masks[name]] for name, dataset in splits.items() if not bool(masks[name].all())}
    what = f"{counted(number, 'frame')} of single atoms ({', '.join(energies)})"
    off = _off(rest["train"], energy, energies)
    if abs(off) > BINDING:
        text = (
            f"{what}: the {energy} of the other frames is {abs(off):.4g} eV per atom {'higher' if off > 0 else 'lower'}"
        )
        text += ", so the level of theory may differ; they are treated like all other frames"
        return splits, SingleAtoms({}, (text,))
    differ = None if shifts.values is None else _differ(energies, shifts)
    if differ is not None and not allowed:
        name = next(name for name, mask in masks.items() if mask.any())
        file, frame = dict(splits.items())[name].where(int(masks[name].nonzero()[0]))
        hint = f"to train on them: {ALLOW_ISOLATED}\nto use their energies as references: shift: auto"
        raise DataError(f"{what} differ from the model's references: {differ}", file=file, frame=frame, hint=hint)
    if differ is not None:
        return splits, SingleAtoms({}, (f"{what} are treated like all other frames: {differ}",))
    remarks = [f"{what} are used as reference energies, not for training; set {KEY} to train on them"]
    if several:
        remarks.append(f"single {', '.join(several)} atoms have several energies; the lowest is used")
    return Splits.of(rest), SingleAtoms(energies, tuple(remarks), what, energy)


def _differ(energies: Mapping[str, float], shifts: Shifts) -> str | None:
    """Describe the energy that differs most from the model's; None if all agree."""
    off = {s: abs(e - given) if (given := shifts.of(s)) is not None else float("inf") for s, e in energies.items()}
    worst = max(off, key=lambda symbol: off[symbol])
    if off[worst] <= SAME:
        return None
    given = shifts.of(worst)
    reason = "the model has no shift for it" if given is None else f"its shift is {given:.9g}"
    return f"{worst} has {shifts.label} {energies[worst]:.9g}, but {reason}"


def _single(dataset: FrameSet, energy: str) -> Tensor:
    """Return a mask of frames with one atom, no neighbours and an energy, (frames,)."""
    found = (dataset.counts("z") == 1) & (dataset.counts("edge_index") == 0)
    if not found.any() or not dataset.has(energy):
        return torch.zeros_like(found)
    return found & torch.cat([block.values[energy].reshape(-1).isfinite() for block in dataset.blocks(energy)])


def _lowest(parts: list[tuple[FrameSet, Tensor]], energy: str) -> tuple[dict[str, float], list[str]]:
    """Return the lowest energy of each element, and the elements that have several energies."""
    values: dict[int, list[float]] = {}
    for dataset, mask in parts:
        for index in mask.nonzero().flatten().tolist():
            graph = dataset[index]
            values.setdefault(int(graph.z[0]), []).append(float(graph[energy]))
    several = [SYMBOLS[z] for z, found in sorted(values.items()) if max(found) - min(found) > 1e-6]
    return {SYMBOLS[z]: min(found) for z, found in sorted(values.items())}, several


def _off(dataset: FrameSet, energy: str, energies: Mapping[str, float]) -> float:
    """Return the median energy per atom relative to the single atoms, over frames whose elements are all known."""
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

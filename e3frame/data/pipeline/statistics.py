"""Statistics of the training frames that a model needs, in float64."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from e3frame.data.pipeline.dataset import write_atomically
from e3frame.data.pipeline.frameset import FrameSet
from e3frame.data.pipeline.references import NOISE, fit_references, rounding
from e3frame.data.sources.base import ALLOW_ISOLATED
from e3frame.files.regular import read_regular
from e3frame.spec.elements import SYMBOLS
from e3frame.spec.errors import DataError
from e3frame.spec.statistics import Statistics

APART = f"raise model.r_max\nif isolated atoms are intended: {ALLOW_ISOLATED}"
BY_SYMMETRY = "if they are zero by symmetry: data.allow=[zero_forces]"
VANISHING = 1e-6
"""Force in eV/Å below which it is zero up to rounding."""


@dataclass(frozen=True)
class Measured:
    """Labels that the statistics describe.

    Args:
        energy: label that a sum over the atoms predicts.
        forces: label whose root mean square is the scale, if the data have it.
        mean: whether a mean over the atoms predicts ``energy``.
        known: given reference energies, such as those of isolated atoms.
        allow: ``DataSpec.allow``.
    """

    energy: str = "energy"
    forces: str = "forces"
    mean: bool = False
    known: Mapping[str, float] = field(default_factory=dict)
    allow: tuple[str, ...] = ()

    def digest(self, dataset: FrameSet) -> str:
        text = json.dumps([self.energy, self.forces, self.mean, dict(self.known), sorted(self.allow)])
        return hashlib.blake2b(np.array([*dataset.indices()]).tobytes() + text.encode(), digest_size=8).hexdigest()


def compute_statistics(
    dataset: FrameSet,
    energy_key: str = "energy",
    forces_key: str = "forces",
    mean: bool = False,
    known: Mapping[str, float] | None = None,
    allow: tuple[str, ...] = (),
) -> Statistics:
    r"""Compute the statistics of the training frames; caches them next to the data set's file, if it has one.

    The reference energies :math:`e_s` minimize :math:`\sum_f (E_f - \sum_s n_{fs} e_s)^2` with the composition
    :math:`n_{fs}`, as far as the compositions determine them (:mod:`~e3frame.data.pipeline.references`). Data without
    a label ``energy_key`` have no reference energies and, if there are no forces either, the scale 1.

    Args:
        dataset: training frames.
        energy_key: label that a sum over the atoms predicts.
        forces_key: label whose root mean square is the scale, if the data have it.
        mean: whether a mean over the atoms predicts ``energy_key``; then :math:`n_{fs}` are fractions of the atoms.
        known: given reference energies, such as those of isolated atoms.
        allow: ``DataSpec.allow``.

    Raises:
        DataError: no atom has a neighbour, all forces are zero, or all energies are equal, so that there is no scale.
    """
    measured, path = Measured(energy_key, forces_key, mean, known or {}, allow), None
    if dataset.cached is not None:
        path = dataset.cached.with_name(f"{dataset.cached.stem}-{measured.digest(dataset)}.json")
        kept = _read(path)
        if kept is not None and kept.species == dataset.species:
            return kept
    statistics = _compute(dataset, measured)
    if path is not None:
        write_atomically(path, statistics.model_dump_json().encode())
    return statistics


def _read(path: Path) -> Statistics | None:
    """Read cached statistics; None if the file is missing or damaged."""
    try:
        return Statistics.model_validate_json(read_regular(path))
    except (ValidationError, OSError):
        return None


class _Energies(NamedTuple):
    """Energies by composition, as many frames may have few compositions.

    Attributes:
        species: chemical symbols, by atomic number.
        compositions: (kinds, species) number of atoms of each element.
        kind: (frames,) index of each frame's composition.
        values: (frames,) energies, NaN for frames without one.
    """

    species: tuple[str, ...]
    compositions: NDArray[np.float64]
    kind: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def is_constant(self) -> bool:
        """Whether all frames with an energy have the same composition and the same energy, and there are several."""
        there = ~np.isnan(self.values)
        if not there.any() or np.unique(self.kind[there]).size > 1:
            return False
        return bool(there.sum() > 1 and np.ptp(self.values[there]) == 0)

    @classmethod
    def of(cls, dataset: FrameSet, key: str) -> _Energies:
        known: dict[bytes, int] = {}
        kinds, values = [], []
        for block in dataset.blocks("z", *([key] if dataset.has(key) else [])):
            frames = len(block.atoms)
            entries = torch.bincount(block.frame * len(SYMBOLS) + block.values["z"], minlength=frames * len(SYMBOLS))
            rows, place = np.unique(entries.reshape(frames, -1).numpy(), axis=0, return_inverse=True)
            numbers = np.array([known.setdefault(row.tobytes(), len(known)) for row in rows])
            kinds.append(numbers[place.reshape(-1)])
            values.append(block.values[key].numpy().reshape(-1) if key in block.values else np.full(frames, np.nan))
        counts = np.stack([np.frombuffer(row, dtype=np.int64) for row in known])
        present = counts.any(0)
        species = tuple(SYMBOLS[z] for z in np.flatnonzero(present))
        compositions = counts[:, present].astype(np.float64)
        return cls(species, compositions, np.concatenate(kinds), np.concatenate(values))

    def fitted(self, measured: Measured) -> tuple[dict[str, float], tuple[str, ...], float | None]:
        """Return reference energies, undetermined species, and the standard deviation of the residual per atom; None if
        there is no energy or the residual is only rounding."""
        there = ~np.isnan(self.values)
        if not there.any():
            return {}, (), None
        kind, values = self.kind[there], self.values[there]
        used, kind, number = np.unique(kind, return_inverse=True, return_counts=True)
        atoms = self.compositions[used].sum(1)
        rows = self.compositions[used] / atoms[:, None] if measured.mean else self.compositions[used]
        average = np.bincount(kind, values) / number
        spread = float(np.square(values - average[kind]).sum())
        found = fit_references(rows, average, self.species, measured.known, number, spread)
        left = values - (rows @ found.energies)[kind]
        energies = dict(zip(self.species, found.energies.tolist(), strict=True))
        undetermined = tuple(s for s, open_ in zip(self.species, found.undetermined, strict=True) if open_)
        given = sum(symbol in measured.known for symbol in self.species)
        spare = len(values) > len(self.species) - given - len(found.open)
        if not spare or np.std(left) <= _step(values):
            return energies, undetermined, None
        return energies, undetermined, float((left / (1 if measured.mean else atoms[kind])).std())


def _step(values: NDArray[np.float64]) -> float:
    """Return the largest deviation that rounding explains, of the file or of sums in float64."""
    found = rounding(values)
    return max(NOISE * float(np.abs(values).max()), 0.0 if found is None else found.step)


def _compute(dataset: FrameSet, measured: Measured) -> Statistics:
    atoms, edges = int(dataset.counts("z").sum()), int(dataset.counts("edge_index").sum())
    files = ", ".join(dataset.files)
    if edges == 0 and "isolated_atoms" not in measured.allow:
        raise DataError("no atom has a neighbour within r_max", file=files, hint=APART)
    energies = _Energies.of(dataset, measured.energy)
    shift, undetermined, deviation = energies.fitted(measured)
    forces = force_scale(dataset, measured.forces)
    if forces is not None and forces < VANISHING and "zero_forces" not in measured.allow:
        raise DataError(f"all {measured.forces} are zero in the training frames", file=files, hint=BY_SYMMETRY)
    if forces is None and energies.is_constant:
        raise DataError(f"the {measured.energy} is the same in all training frames", file=files)
    scale = forces if forces is not None and forces >= VANISHING else deviation
    return Statistics(
        species=energies.species,
        energy_shift=shift,
        energy_scale=1.0 if scale is None else scale,
        avg_num_neighbors=edges / atoms or 1.0,
        undetermined=undetermined,
        scale_of="nothing" if scale is None else "energies" if scale is deviation else "forces",
    )


def force_scale(dataset: FrameSet, key: str) -> float | None:
    """Return the root mean square of the components of a label; None if no frame has it."""
    if not dataset.has(key):
        return None
    squares, number = 0.0, 0
    for block in dataset.blocks(key):
        forces = block.values[key].numpy()
        squares += float(np.nansum(np.square(forces)))
        number += int(np.isfinite(forces).sum())
    return float(np.sqrt(squares / number)) if number else None


class Range(NamedTuple):
    """Range of a label's values, in float64; ``missing`` counts the frames or atoms without one."""

    smallest: float
    largest: float
    mean: float
    deviation: float
    missing: int

    def written(self, *names: str) -> list[str]:
        """Return some of these as text; a mean that is zero up to rounding is 0."""
        rest = abs(self.mean) < 1e-8 * self.deviation
        return ["0" if rest and name == "mean" else f"{getattr(self, name):.5g}" for name in names]


def label_range(dataset: FrameSet, key: str) -> Range:
    """Return the range of a label over all frames; NaN if no frame has a value.

    Block by block, by the formulas of Chan, Golub and LeVeque (1983).
    """
    number, mean, squares, missing = 0, 0.0, 0.0, 0
    low, high = np.inf, -np.inf
    for block in dataset.blocks(key):
        rows = block.values[key].numpy().astype(np.float64)
        missing += int(np.isnan(rows).any(tuple(range(1, rows.ndim))).sum())
        values = rows[~np.isnan(rows)]
        if not len(values):
            continue
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        apart, total = float(values.mean()) - mean, number + len(values)
        squares += len(values) * float(values.var()) + apart**2 * number * len(values) / total
        mean, number = mean + apart * len(values) / total, total
    if not number:
        return Range(np.nan, np.nan, np.nan, np.nan, missing)
    return Range(low, high, mean, float(np.sqrt(squares / number)), missing)

"""What a model needs to know of its training frames, in float64."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from e3frame.data.dataset import write_atomically
from e3frame.data.frameset import FrameSet
from e3frame.spec.elements import SYMBOLS
from e3frame.spec.errors import DataError
from e3frame.spec.statistics import Statistics


def compute_statistics(
    dataset: FrameSet, energy_key: str = "energy", forces_key: str = "forces", mean: bool = False
) -> Statistics:
    r"""Statistics of the training frames; kept next to the data set's file, if it has one.

    The reference energies :math:`e_s` minimize :math:`\sum_f (E_f - \sum_s n_{fs} e_s)^2` with the composition
    :math:`n_{fs}`; where the compositions do not fix them, they are the smallest of all minimizers. Data without
    a label ``energy_key`` have no reference energies and, if there are no forces either, the scale 1.

    Args:
        dataset: the training frames.
        energy_key: label that a sum over the atoms predicts.
        forces_key: label whose root mean square is the scale, where it is there.
        mean: a mean over the atoms predicts ``energy_key``: :math:`n_{fs}` are fractions of the atoms.

    Raises:
        DataError: no atom has a neighbour, or all forces (or energies) are the same, so that there is no scale.
    """
    path = None
    if dataset.cached is not None:
        subset = np.array([*dataset.indices()]).tobytes() + f"{energy_key} {forces_key}{' mean' * mean}".encode()
        name = f"{dataset.cached.stem}-{hashlib.blake2b(subset, digest_size=8).hexdigest()}.json"
        path = dataset.cached.with_name(name)
        known = _read(path)
        if known is not None:
            return known
    statistics = _compute(dataset, energy_key, forces_key, mean)
    if path is not None:
        write_atomically(path, statistics.model_dump_json().encode())
    return statistics


def _read(path: Path) -> Statistics | None:
    """None where there is no such file, or a damaged one, which is then replaced."""
    try:
        return Statistics.model_validate_json(path.read_bytes())
    except (ValidationError, OSError):
        return None


class _Energies(NamedTuple):
    """Energies by composition, which are few where frames are many.

    Attributes:
        species: by atomic number.
        compositions: (kinds, species) atoms of each element.
        kind: (frames,) composition of each frame.
        values: (frames,) energies, NaN where there is none.
    """

    species: tuple[str, ...]
    compositions: NDArray[np.float64]
    kind: NDArray[np.int64]
    values: NDArray[np.float64]

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

    def fitted(self, mean: bool) -> tuple[dict[str, float], float]:
        """Reference energies, and the deviation of what they leave, per atom; none and 1 where there is no energy.

        Args:
            mean: the values are means over the atoms, not sums.
        """
        there = ~np.isnan(self.values)
        if not there.any():
            return {}, 1.0
        kind, values = self.kind[there], self.values[there]
        number = np.bincount(kind, minlength=len(self.compositions))
        weight = np.sqrt(number)
        average = np.bincount(kind, values, len(number)) / np.maximum(number, 1)
        atoms = self.compositions.sum(1)
        parts = self.compositions / atoms[:, None] if mean else self.compositions
        # With the frames of each composition as weight, the minimizers are those of all frames.
        solution = reference_energies(weight[:, None] * parts, weight * average)
        rest = (values - (parts @ solution)[kind]) / (1 if mean else atoms[kind])
        return dict(zip(self.species, solution.tolist(), strict=True)), float(rest.std())


def _compute(dataset: FrameSet, energy_key: str, forces_key: str, mean: bool) -> Statistics:
    atoms, edges = int(dataset.counts("z").sum()), int(dataset.counts("edge_index").sum())
    if edges == 0:
        raise DataError("no atom has a neighbour within r_max", file=", ".join(dataset.files))
    energies = _Energies.of(dataset, energy_key)
    shift, scale = energies.fitted(mean)
    if dataset.has(forces_key):
        squares, number = 0.0, 0
        for block in dataset.blocks(forces_key):
            forces = block.values[forces_key].numpy()
            squares += float(np.nansum(np.square(forces)))
            number += int(np.isfinite(forces).sum())
        scale = np.sqrt(squares / number) if number else scale
    if scale < 1e-12:
        what = f"all {forces_key} are zero" if dataset.has(forces_key) else f"the {energy_key} does not vary"
        raise DataError(f"{what} in the training frames", file=", ".join(dataset.files))
    return Statistics(
        species=energies.species, energy_shift=shift, energy_scale=float(scale), avg_num_neighbors=edges / atoms
    )


def reference_energies(composition: NDArray[np.float64], energies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minimum-norm least squares of ``energies`` (frames,) on ``composition`` (frames, species)."""
    return np.linalg.lstsq(composition, energies, rcond=None)[0]


class Range(NamedTuple):
    """What values a label takes, in float64; ``missing`` of the frames or atoms have none."""

    smallest: float
    largest: float
    mean: float
    deviation: float
    missing: int

    def written(self, *names: str) -> list[str]:
        """Some of these as text; a mean that is but what rounding left of zero as 0."""
        rest = abs(self.mean) < 1e-8 * self.deviation
        return ["0" if rest and name == "mean" else f"{getattr(self, name):.5g}" for name in names]


def label_range(dataset: FrameSet, key: str) -> Range:
    """Over all frames, block by block (Chan, Golub, LeVeque 1983); NaN where there is no value at all."""
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
        return Range(*[float("nan")] * 4, missing)
    return Range(low, high, mean, float(np.sqrt(squares / number)), missing)

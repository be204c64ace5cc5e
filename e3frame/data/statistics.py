"""What a model needs to know of its training frames, in float64."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from e3frame.data.dataset import GraphDataset, write_atomically
from e3frame.spec.elements import SYMBOLS
from e3frame.spec.errors import DataError
from e3frame.spec.statistics import Statistics


def compute_statistics(
    dataset: GraphDataset, energy_key: str = "energy", forces_key: str = "forces", mean: bool = False
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


def _compute(dataset: GraphDataset, energy_key: str, forces_key: str, mean: bool) -> Statistics:
    atoms, edges = dataset.counts("z").numpy(), dataset.counts("edge_index").numpy()
    if edges.sum() == 0:
        raise DataError("no atom has a neighbour within r_max", file=", ".join(dataset.files))
    numbers, column = np.unique(dataset.stacked("z").numpy(), return_inverse=True)
    composition = np.zeros((len(atoms), len(numbers)))
    np.add.at(composition, (np.repeat(np.arange(len(atoms)), atoms), column), 1.0)
    species = tuple(SYMBOLS[z] for z in numbers)
    shift: dict[str, float] = {}
    scale = 1.0
    energies = (
        dataset.stacked(energy_key).numpy().reshape(-1) if dataset.has(energy_key) else np.full(len(atoms), np.nan)
    )
    there = ~np.isnan(energies)  # frames without the label hold NaN
    if there.any():
        parts = composition / atoms[:, None] if mean else composition
        solution = reference_energies(parts[there], energies[there])
        shift = dict(zip(species, solution.tolist(), strict=True))
        scale = float(((energies - parts @ solution) / (1 if mean else atoms))[there].std())
    if dataset.has(forces_key):
        scale = float(np.sqrt(np.nanmean(np.square(dataset.stacked(forces_key).numpy()))))
    if scale < 1e-12:
        what = f"all {forces_key} are zero" if dataset.has(forces_key) else f"the {energy_key} does not vary"
        raise DataError(f"{what} in the training frames", file=", ".join(dataset.files))
    return Statistics(
        species=species, energy_shift=shift, energy_scale=scale, avg_num_neighbors=float(edges.sum() / atoms.sum())
    )


def reference_energies(composition: NDArray[np.float64], energies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minimum-norm least squares of ``energies`` (frames,) on ``composition`` (frames, species)."""
    return np.linalg.lstsq(composition, energies, rcond=None)[0]

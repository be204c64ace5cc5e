"""Checks of energies: mixed units, per atom instead of total, rounded, too large for float32, and reference energies
that the training frames do not determine."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from e3frame.data.pipeline.dataset import Splits
from e3frame.data.pipeline.frameset import FrameSet
from e3frame.data.pipeline.references import NOISE, fit_references, rounding
from e3frame.preflight.findings import Finding
from e3frame.spec.elements import SYMBOLS
from e3frame.spec.units import ENERGY
from e3frame.spec.words import counted

APART = np.log(1.5)
"""Smallest log ratio of energies of the same composition that suggests another unit."""
MIN_OTHERS = 5
"""Smallest number of frames with another unit; fewer are outliers."""
CHARGED = np.log(3.0)
"""Log ratio above which a factor that matches two units is due to them. Two states or charges of the same atoms may
differ by a smaller factor, such as the 2 of Hartree and Ry."""
STRAYS = 0.01
"""Largest fraction of frames that have neither of the two sizes."""
COARSE = 0.005
"""Rounding step, relative to the standard deviation of the energies, that is too coarse to learn from."""


def check_energies(dataset: FrameSet, energy: str, references: bool) -> list[Finding]:
    """Check energies: per atom instead of total, mixed units, rounding, float32.

    Args:
        references: whether the model adds reference energies of the atoms.
    """
    values = dataset.stacked(energy).numpy().reshape(-1)
    known = np.isfinite(values)
    if known.sum() < 2:
        return []
    counts, values = composition(dataset)[known], values[known]
    mixed = _of_two_units(dataset, np.flatnonzero(known), values, counts, energy)
    if mixed is not None and mixed.level == "error":  # the other checks need one unit
        return [mixed]
    found = [mixed, _per_atom(values, counts, energy), _rounded(values, counts, energy)]
    if not references:
        found.append(_large(values, counts, energy))
    return [finding for finding in found if finding is not None]


def composition(dataset: FrameSet, numbers: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Return the number of atoms of each element, (frames, elements).

    Args:
        numbers: atomic numbers of the columns, in ascending order; None: those in the data.
    """
    z = dataset.stacked("z").numpy()
    numbers = np.unique(z) if numbers is None else numbers
    column = np.searchsorted(numbers, z)
    atoms = dataset.counts("z").numpy()
    counts = np.zeros((len(atoms), len(numbers)))
    np.add.at(counts, (np.repeat(np.arange(len(atoms)), atoms), column), 1.0)
    return counts


def residual(values: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``values`` (frames,) minus the best fit by energies of the elements; zero where only rounding remains, or
    if there are no more frames than elements."""
    solution, _, rank, _ = np.linalg.lstsq(counts, values, rcond=None)
    left = values - counts @ solution
    return np.zeros_like(left) if len(left) <= rank else np.where(np.abs(left) < NOISE * np.abs(values).max(), 0, left)


def _of_two_units(
    dataset: FrameSet, frames: NDArray[np.int64], values: NDArray[np.float64], counts: NDArray[np.float64], energy: str
) -> Finding | None:
    """Check for two units. Energies of the same atoms differ little at any temperature; those in two units, of two
    levels of theory, or with and without free atoms, have two distinct sizes."""
    frames, values, counts = (rows[values != 0] for rows in (frames, values, counts))
    size = np.log(np.abs(values))
    _, kind = np.unique(counts, axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    order = np.lexsort((size, kind))
    first, number = np.unique(kind[order], return_index=True, return_counts=True)[1:]
    apart = np.abs(size - size[order][first + (number - 1) // 2][kind])  # from the median of the same atoms
    other = np.flatnonzero(apart > APART)
    if len(other) < MIN_OTHERS:
        return None
    factor = float(np.median(apart[other]))
    off = np.minimum(apart, np.abs(apart - factor))
    scatter = float(np.median(np.abs(apart[other] - factor)))
    if (off > factor / 8).mean() > STRAYS or (off[other] > factor / 8).mean() > 10 * STRAYS:
        return None
    named = {abs(np.log(ENERGY[a] / ENERGY[b])): f"{a} and {b}" for a, b in combinations(ENERGY, 2)}
    nearest = min(named, key=lambda known: abs(known - factor))
    is_named = abs(nearest - factor) < 0.003 + min(2 * scatter, 0.08)  # Hartree and kcal/mol are 0.17 apart
    file, frame = dataset.where(int(frames[other[0]]))
    what = f"as {named[nearest]} do" if is_named else "perhaps two levels of theory"
    text = (
        f"the {energy} of equal compositions differs by a factor of {np.exp(factor):.4g}, {what}, "
        f"in {len(other)} of {len(values)} frames (frame {frame} of {file} first)"
    )
    hint = "if files were merged, convert all frames to one " + ("unit" if is_named else "level of theory and unit")
    sure = is_named and factor > CHARGED
    return Finding(energy, "error" if sure else "warning", text, hint)


def _per_atom(values: NDArray[np.float64], counts: NDArray[np.float64], energy: str) -> Finding | None:
    """Check for energies per atom: total energies are nearly sums over the atoms, energies per atom nearly means.
    Frames of equal size do not show the difference."""
    atoms = counts.sum(1)
    if atoms.max() < 1.2 * atoms.min() or len(values) < 2 * counts.shape[1] + 2:
        return None
    of_sums = np.square(residual(values, counts)).sum()
    of_means = np.square(residual(values, counts / atoms[:, None])).sum()
    if of_means > 0.1 * of_sums or of_means > 0.1 * np.square(values).sum():
        return None
    text = f"the {energy} does not grow with the number of atoms: it looks like an energy per atom"
    return Finding(energy, "error", text, "total energies are needed: multiply by the number of atoms")


def _rounded(values: NDArray[np.float64], counts: NDArray[np.float64], energy: str) -> Finding | None:
    deviation = float(np.std(residual(values, counts)))
    found = rounding(values)
    if found is None or not found.step > COARSE * deviation > 0:
        return None
    part = f"{found.step / deviation:.1%} of its standard deviation"
    if found.digits is not None:
        text = f"the {energy} was rounded to {10.0**-found.digits:g} {found.unit}, {part}"
        return Finding(energy, "warning", text, "write more digits")
    text = (
        f"the {energy} (about {np.median(values):.6g} eV) was stored in float32 (in {found.unit}), with steps of "
        f"{1000 * found.step:.2g} meV, {part}"
    )
    return Finding(energy, "warning", text, "store energies in float64, or subtract those of the free atoms")


def _large(values: NDArray[np.float64], counts: NDArray[np.float64], energy: str) -> Finding | None:
    deviation = float(np.std(residual(values, counts)))
    deviation = deviation or 1.0  # eV, if unknown
    step = float(np.spacing(np.abs(values).max().astype(np.float32)))
    if step < 1e-3 * deviation and np.abs(values).max() < 1e3 * deviation:
        return None
    text = (
        f"the {energy} is about {np.median(values):.6g} eV, but the model has no reference energies of the atoms: "
        f"float32 has steps of {1000 * step:.2g} meV at this size"
    )
    hint = f"set model.outputs.{energy}.per_species_scale_shift=auto to subtract reference energies"
    return Finding(energy, "warning", text, hint)


CHECK = "reference energies"


def check_references(splits: Splits, energy: str, known: Mapping[str, float]) -> Finding | None:
    """Check whether the training frames determine all reference energies.

    A warning if they do not determine those of validation or test frames, a note if only future frames can need them;
    None if all are determined.

    Args:
        known: given reference energies.
    """
    numbers = np.unique(splits.train.stacked("z").numpy())
    values = splits.train.stacked(energy).numpy().reshape(-1)
    there = np.isfinite(values)
    if not there.any():
        return None
    species = tuple(SYMBOLS[z] for z in numbers)
    rows, kind, number = np.unique(
        composition(splits.train, numbers)[there], axis=0, return_inverse=True, return_counts=True
    )
    kind = kind.reshape(-1)
    mean = np.bincount(kind, values[there]) / number
    spread = float(np.square(values[there] - mean[kind]).sum())
    found = fit_references(rows, mean, species, known, number, spread)
    if not len(found.open):
        return None
    names = ", ".join(symbol for symbol, is_open in zip(species, found.undetermined, strict=True) if is_open)
    what = counted(len(rows), "composition")
    text = f"{what} of training frames determine only sums of the reference energies of {names}, not each one"
    hint = "add frames of other compositions or of the single atoms"
    asking = {
        name: int((~found.fixes(composition(dataset, numbers))).sum())
        for name, dataset in splits.items()
        if dataset is not splits.train
    }
    unseen = [f"{counted(count, f'{name} frame')}" for name, count in asking.items() if count]
    if not unseen:
        return Finding(CHECK, "note", f"{text}: predicted energies of other compositions are unreliable", hint)
    text += f": predicted energies of {' and '.join(unseen)} of other compositions are unreliable"
    return Finding(CHECK, "warning", text, hint)

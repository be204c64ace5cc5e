"""Which reference energies the training frames do not determine, and whether other frames ask for them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from e3frame.data.pipeline.dataset import Splits
from e3frame.data.pipeline.references import fit_references
from e3frame.preflight.energies import composition
from e3frame.preflight.findings import Finding
from e3frame.spec.elements import SYMBOLS
from e3frame.spec.words import counted

CHECK = "reference energies"


def check_references(splits: Splits, energy: str, known: Mapping[str, float]) -> Finding | None:
    """A warning where validation or test frames have compositions whose energy the training frames do not determine, a
    note where only frames to come could have; None where all is determined.

    Args:
        known: reference energies that are given.
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
    text = f"{what} of training frames do not determine those of {names} one by one, only sums of them"
    hint = "add frames of other compositions or of the single atoms"
    asking = {
        name: int((~found.fixes(composition(dataset, numbers))).sum())
        for name, dataset in splits.items()
        if dataset is not splits.train
    }
    said = [f"{counted(count, f'{name} frame')}" for name, count in asking.items() if count]
    if not said:
        return Finding(CHECK, "note", f"{text}: energies of other compositions are a guess", hint)
    return Finding(
        CHECK, "warning", f"{text}: energies of {' and '.join(said)} of other compositions are a guess", hint
    )

r"""Reference energies of the elements: least squares fit of total energies to compositions, as far as the compositions
determine them.

The solution is :math:`e = p + \sum_k c_k v_k` with the right singular vectors :math:`v_k` of the compositions.
Directions :math:`v_k` that the frames do not determine are left out, so that e stays at the prior p along them: the
total energies of free atoms for energies of that size, else one value for all elements. A fit of such a direction
follows noise and spoils the energy of any other composition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from e3frame.spec.elements import ATOMIC_NUMBERS
from e3frame.spec.units import ENERGY

LEVERAGE = 30.0
"""Largest error that a direction of the fit may add to a frame of another composition, in standard deviations of one
frame's energy."""
SIGNIFICANT = 5.0
"""Significance, in standard errors, above which a direction is fitted anyway; higher if few frames determine the
standard deviation."""
TOTALS = 0.05
"""Largest relative deviation of total energies from the sum over free atoms."""


class References(NamedTuple):
    """Reference energies by species.

    Attributes:
        energies: energy of each species, (species,).
        open: orthonormal changes of the energies that the frames do not determine, (directions, species).
    """

    energies: NDArray[np.float64]
    open: NDArray[np.float64]

    @property
    def undetermined(self) -> NDArray[np.bool_]:
        """Mask of species whose energy the frames do not determine, (species,)."""
        return np.square(self.open).sum(0) > 1e-6

    def fixes(self, composition: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the sum of references is determined for each composition (frames, species): (frames,)."""
        size = np.linalg.norm(composition, axis=1).clip(1e-300)
        return np.linalg.norm(composition @ self.open.T, axis=1) < 1e-6 * size


def fit_references(
    rows: NDArray[np.float64],
    values: NDArray[np.float64],
    species: tuple[str, ...],
    known: Mapping[str, float] | None = None,
    number: NDArray[np.int64] | None = None,
    spread: float = 0.0,
) -> References:
    """Fit reference energies.

    Args:
        rows: number of atoms of each element, or fractions of the atoms, for each composition (kinds, species).
        values: mean energy of each composition, (kinds,).
        species: chemical symbols.
        known: given energies, such as those of isolated atoms.
        number: number of frames of each composition, (kinds,); None: one.
        spread: sum of the squared deviations of all frames from the mean of their composition.
    """
    number = np.ones(len(rows), np.int64) if number is None else number
    known = known or {}
    free = np.array([symbol not in known for symbol in species])
    energies = np.array([known.get(symbol, 0.0) for symbol in species])
    prior = _prior(rows, values, species, energies, free)
    weight = np.sqrt(number)
    width = int(free.sum())
    a = np.concatenate([weight[:, None] * rows[:, free], np.zeros((width, width))])  # so that vt is complete
    b = np.concatenate([weight * (values - rows @ prior), np.zeros(width)])
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    there = s > 1e-10 * s.max(initial=0.0)
    c = np.where(there, u.T @ b, 0.0) / np.where(there, s, 1.0)
    spare = int(number.sum()) - int(there.sum())
    squares = float(np.square(b - a @ (vt.T @ c)).sum()) + spread
    error = np.sqrt(squares / spare) * (1 + 10 / spare**2) if spare else np.inf
    typical = np.linalg.norm(a) / np.sqrt(max(int(number.sum()), 1))
    kept = there & ((typical <= LEVERAGE * s) | (np.abs(c) * s >= SIGNIFICANT * error))
    energies = prior.copy()
    energies[free] += vt[kept].T @ c[kept]
    left = np.zeros((int((~kept).sum()), len(species)))
    left[:, free] = vt[~kept]
    return References(energies, left)


def free_atom_energy(symbol: str) -> float:
    """Return the all-electron energy of a free atom in eV, within one percent.

    Thomas-Fermi model with the corrections of Scott and Schwinger (Phys. Rev. A 22, 1827, 1980).
    """
    z = ATOMIC_NUMBERS[symbol]
    return ENERGY["Hartree"] * (-0.768745 * z ** (7 / 3) + 0.5 * z**2 - 0.269900 * z ** (5 / 3))


def _prior(
    rows: NDArray[np.float64],
    values: NDArray[np.float64],
    species: tuple[str, ...],
    known: NDArray[np.float64],
    free: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the initial energies of the fit, (species,); known energies stay fixed."""
    atoms = np.array([free_atom_energy(symbol) for symbol in species])
    totals = rows @ atoms
    if (np.abs(values - totals) < TOTALS * np.abs(totals)).mean() > 0.9:
        return np.where(free, atoms, known)
    open_atoms, rest = rows[:, free].sum(1), values - rows @ known
    mean = float(open_atoms @ rest / max(open_atoms @ open_atoms, 1e-300))
    return np.where(free, mean, known)


NOISE = 1e-12
"""Relative size below which a difference of float64 sums is only rounding."""


class Rounding(NamedTuple):
    """Rounding of energies to multiples of ``step`` (eV), in ``unit``; ``digits`` after the point, None for float32."""

    step: float
    unit: str
    digits: int | None


def rounding(values: NDArray[np.float64]) -> Rounding | None:
    """Return how energies (eV) were rounded; None if they have all digits of a float64."""
    for unit, factor in ENERGY.items():
        written = values / factor
        if (np.abs(written - written.astype(np.float32)) <= 1e-13 * np.abs(written)).all():
            return Rounding(float(np.spacing(np.abs(written).max().astype(np.float32))) * factor, unit, None)
    for unit, factor in ENERGY.items():
        for digits in range(4):
            scaled = values / factor * 10**digits
            if (np.abs(scaled - np.round(scaled)) <= np.minimum(1e-6, 1e-9 * np.abs(scaled))).all():
                return Rounding(factor / 10**digits, unit, digits)
    return None

r"""Reference energies of the elements: least squares of total energies on the compositions, as far as these fix them.

The solution is written as :math:`e = p + \sum_k c_k v_k` with the right singular vectors :math:`v_k` of the
compositions. What frames determine is taken as it comes; along what they do not determine, e stays at the prior p: the
total energies of free atoms for energies of that size, else one value for all elements. Left alone, such a direction
would be fitted to noise and ruin the energy of any other composition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from e3frame.spec.elements import ATOMIC_NUMBERS
from e3frame.spec.units import ENERGY

LEVERAGE = 30.0
"""Standard deviations of one frame's energy by which a direction may spoil a frame of another composition."""
SIGNIFICANT = 5.0
"""Standard errors above which a direction is taken all the same; more where few frames tell the deviation."""
TOTALS = 0.05
"""Part by which total energies may be off those of the free atoms."""


class References(NamedTuple):
    """Reference energies by species.

    Attributes:
        energies: one for each species.
        open: (directions, species), orthonormal: changes of the energies that the frames do not determine.
    """

    energies: NDArray[np.float64]
    open: NDArray[np.float64]

    @property
    def undetermined(self) -> NDArray[np.bool_]:
        """(species,) whose energy the frames do not determine."""
        return np.square(self.open).sum(0) > 1e-6

    def fixes(self, composition: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(frames,) whether the sum of the references is determined for such a composition (frames, species)."""
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
        rows: (kinds, species) atoms of each element, or fractions of them.
        values: (kinds,) mean energy of each kind.
        species: chemical symbols.
        known: energies that are given, such as those of isolated atoms.
        number: (kinds,) frames of each kind; None: one.
        spread: sum of the squared deviations of the frames from the means of their kinds.
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
    """Energy of a free atom with all its electrons in eV, within one percent.

    The statistical atom with the corrections of Scott and Schwinger (Phys. Rev. A 22, 1827, 1980).
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
    """(species,) energies at which the fit begins; known energies stay."""
    atoms = np.array([free_atom_energy(symbol) for symbol in species])
    totals = rows @ atoms
    if (np.abs(values - totals) < TOTALS * np.abs(totals)).mean() > 0.9:
        return np.where(free, atoms, known)
    open_atoms, rest = rows[:, free].sum(1), values - rows @ known
    mean = float(open_atoms @ rest / max(open_atoms @ open_atoms, 1e-300))
    return np.where(free, mean, known)


NOISE = 1e-12
"""Part of a float64 below which a difference of sums is but rounding."""


class Rounding(NamedTuple):
    """Energies rounded to multiples of ``step`` (eV): written in ``unit`` with some ``digits`` after the point, or
    stored in float32 (None)."""

    step: float
    unit: str
    digits: int | None


def rounding(values: NDArray[np.float64]) -> Rounding | None:
    """How energies in eV were rounded; None where they have all digits of a float64."""
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

"""Units of the files: names, values in eV and Å, and what dimension each label has.

Values are CODATA 2022 (the mole units are exact).
"""

from __future__ import annotations

from typing import Any

from pydantic import field_validator

from e3frame.spec.base import Spec, mistake, shown
from e3frame.spec.errors import did_you_mean

ENERGY = {
    "eV": 1.0,
    "meV": 1e-3,
    "Hartree": 27.211386245981,
    "Ry": 13.605693122990,
    "kcal/mol": 4184.0 / 6.02214076e23 / 1.602176634e-19,
    "kJ/mol": 1000.0 / 6.02214076e23 / 1.602176634e-19,
}
"""Energy units in eV."""

LENGTH = {"Å": 1.0, "bohr": 0.529177210544, "nm": 10.0}
"""Length units in Å."""

PRESSURE = {"eV/Å^3": 1.0, "GPa": 1e9 * 1e-30 / 1.602176634e-19, "kbar": 1e8 * 1e-30 / 1.602176634e-19}
"""Stress units in eV/Å^3."""

ALIASES = {
    "A": "Å",
    "Ang": "Å",
    "Angstrom": "Å",
    "angstrom": "Å",
    "Bohr": "bohr",
    "Ha": "Hartree",
    "hartree": "Hartree",
    "eV/A^3": "eV/Å^3",
}

DIMENSIONS = {
    "energy": (1, 0),
    "forces": (1, -1),
    "stress": (1, -3),
    "virial": (1, 0),
    "dipole": (0, 1),
    "polarizability": (0, 3),
    "charges": (0, 0),
    "total_charge": (0, 0),
}
"""Powers of energy and length in each label's unit; the unit of charge is always e. Labels that are not listed are
taken as they stand."""


class Units(Spec):
    """Units of a file; those of derived labels follow (forces are in energy/length, polarizabilities in length^3)."""

    length: str = "Å"
    """Å (or A), bohr, nm."""
    energy: str = "eV"
    """eV, meV, Hartree, Ry, kcal/mol, kJ/mol."""
    stress: str | None = None
    """eV/Å^3 (or eV/A^3), GPa, kbar; null: energy/length^3."""

    @field_validator("length", mode="before")
    @classmethod
    def _length(cls, name: Any) -> str:
        return _known(name, LENGTH, "length")

    @field_validator("energy", mode="before")
    @classmethod
    def _energy(cls, name: Any) -> str:
        return _known(name, ENERGY, "energy")

    @field_validator("stress", mode="before")
    @classmethod
    def _stress(cls, name: Any) -> str | None:
        return None if name is None else _known(name, PRESSURE, "stress")

    def length_factor(self) -> float:
        """A length of the file times this is in Å."""
        return LENGTH[self.length]

    def label_factor(self, label: str) -> float:
        """A label of the file times this is in eV, Å and e.

        >>> Units(length="nm", energy="meV").label_factor("forces")
        0.0001
        """
        if label == "stress" and self.stress is not None:
            return PRESSURE[self.stress]
        energy, length = DIMENSIONS.get(label, (0, 0))
        return ENERGY[self.energy] ** energy * LENGTH[self.length] ** length


def _known(name: Any, table: dict[str, float], what: str) -> str:
    if not isinstance(name, str):
        raise mistake(f"the name of a unit of {what} is required, got {shown(name)}", f"known: {', '.join(table)}")
    name = ALIASES.get(name, name)
    if name not in table:
        raise mistake(f"no unit of {what} is called {shown(name)}", did_you_mean(name, table))
    return name

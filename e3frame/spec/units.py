"""Units of the files: names, values in eV and Å, and what dimension each label has.

Values are CODATA 2022 (the mole units are exact).
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationInfo, field_validator

from e3frame.spec.base import Spec, mistake, shown
from e3frame.spec.errors import nearest

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

FORCE = {f"{energy}/{length}": ENERGY[energy] / LENGTH[length] for energy in ENERGY for length in LENGTH}
"""Force units in eV/Å."""

DIPOLE = {"e*Å": 1.0, "D": 1e-21 / 299_792_458 / 1.602176634e-19 / 1e-10, "e*bohr": LENGTH["bohr"]}
"""Dipole units in e*Å."""

POLARIZABILITY = {"Å^3": 1.0, "bohr^3": LENGTH["bohr"] ** 3}
"""Polarizability units in Å^3."""

OF_LABELS = {
    "forces": FORCE,
    "stress": PRESSURE,
    "virial": ENERGY,
    "dipole": DIPOLE,
    "polarizability": POLARIZABILITY,
}
"""Labels that can have a unit of their own."""

ALIASES = {
    "A": "Å",
    "Ang": "Å",
    "Angstrom": "Å",
    "angstrom": "Å",
    "Bohr": "bohr",
    "a0": "bohr",
    "Ha": "Hartree",
    "hartree": "Hartree",
    "Debye": "D",
    "debye": "D",
    "A^3": "Å^3",
    "a0^3": "bohr^3",
}
"""Other names of units, or of their parts."""

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
    """Units of a file; those of derived labels follow (forces are in energy/length, polarizabilities in length^3), if
    they have none of their own. What a file itself says of its units holds where nothing is given here."""

    length: str | None = None
    """Å (or A), bohr, nm; null: what the file says, else Å."""
    energy: str | None = None
    """eV, meV, Hartree, Ry, kcal/mol, kJ/mol; null: what the file says, else eV."""
    forces: str | None = None
    """Any unit of energy by any of length, such as Hartree/bohr; null: energy/length."""
    stress: str | None = None
    """eV/Å^3 (or eV/A^3), GPa, kbar; null: energy/length^3."""
    virial: str | None = None
    """A unit of energy; null: that of the energy."""
    dipole: str | None = None
    """e*Å (or e*A), D, e*bohr; null: e*length."""
    polarizability: str | None = None
    """Å^3 (or A^3), bohr^3; null: length^3."""

    @field_validator("length", mode="before")
    @classmethod
    def _length(cls, name: Any) -> str | None:
        return None if name is None else _known(name, LENGTH, "length")

    @field_validator("energy", mode="before")
    @classmethod
    def _energy(cls, name: Any) -> str | None:
        return None if name is None else _known(name, ENERGY, "energy")

    @field_validator(*OF_LABELS, mode="before")
    @classmethod
    def _of_label(cls, name: Any, info: ValidationInfo) -> str | None:
        return None if name is None else _known(name, OF_LABELS[info.field_name], info.field_name)

    @property
    def of_labels(self) -> dict[str, str]:
        """Labels that have a unit of their own."""
        return {label: unit for label in OF_LABELS if (unit := getattr(self, label)) is not None}

    def length_factor(self) -> float:
        """A length of the file times this is in Å."""
        return LENGTH[self.length or "Å"]

    def label_factor(self, label: str) -> float:
        """A label of the file times this is in eV, Å and e.

        >>> Units(length="nm", energy="meV").label_factor("forces")
        0.0001
        """
        if label in self.of_labels:
            return OF_LABELS[label][self.of_labels[label]]
        energy, length = DIMENSIONS.get(label, (0, 0))
        return ENERGY[self.energy or "eV"] ** energy * self.length_factor() ** length


def _known(name: Any, table: dict[str, float], what: str) -> str:
    if not isinstance(name, str):
        raise mistake(f"the name of a unit of {what} is required, got {shown(name)}", known_units(what))
    found = canonical(name)
    if found not in table:
        match = nearest(name, table)
        hint = f"did you mean {match}? " if match else ""
        raise mistake(f"no unit of {what} is called {shown(name)}", hint + known_units(what))
    return found


def known_units(what: str) -> str:
    """The units of a quantity, for a message.

    >>> known_units("forces")
    'known: eV, meV, Hartree, Ry, kcal/mol, kJ/mol; by Å, bohr, nm'
    """
    table = {"length": LENGTH, "energy": ENERGY, **OF_LABELS}[what]
    return f"known: {', '.join(ENERGY)}; by {', '.join(LENGTH)}" if table is FORCE else f"known: {', '.join(table)}"


def canonical(name: str) -> str:
    """The name of a unit without aliases.

    >>> canonical("Ha/Bohr"), canonical("eV/A^3"), canonical("kcal/mol/A")
    ('Hartree/bohr', 'eV/Å^3', 'kcal/mol/Å')
    """
    parts = re.split(r"([*/])", ALIASES.get(name, name))
    return "".join(ALIASES.get(part, part) for part in parts)

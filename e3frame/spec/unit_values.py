"""Names of units and their values in eV, Å and e.

Values are CODATA 2022 (the mole units are exact).
"""

from __future__ import annotations

import re

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


def canonical(name: str) -> str:
    """Return the name of a unit without aliases.

    >>> canonical("Ha/Bohr"), canonical("eV/A^3"), canonical("kcal/mol/A")
    ('Hartree/bohr', 'eV/Å^3', 'kcal/mol/Å')
    """
    parts = re.split(r"([*/])", ALIASES.get(name, name))
    return "".join(ALIASES.get(part, part) for part in parts)

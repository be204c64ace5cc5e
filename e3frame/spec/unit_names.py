"""Names that a unit can be made of, for labels of any kind, whose units are shown and not converted."""

from __future__ import annotations

import re

from e3frame.spec.base import shown
from e3frame.spec.errors import nearest

PREFIXED = frozenset({
    "eV", "Hartree", "hartree", "Ha", "Ry", "cal", "J", "mol", "e", "C", "D", "Debye", "debye", "V", "A", "m", "g", "s",
    "K", "Pa", "bar", "T", "G", "Hz", "N", "W", "L",
})  # fmt: skip
"""Those that take a prefix, such as k or m."""
PLAIN = frozenset({
    "Å", "Ang", "Angstrom", "angstrom", "bohr", "Bohr", "a0", "nm", "kcal", "kJ", "meV", "atm", "amu", "u", "Da", "min",
    "h", "rad", "deg", "°", "%", "ppm", "ppb", "μB", "μ_B", "mu_B", "muB", "kB", "hbar", "au", "a.u.", "Eh",
    "E_h", "ea0", "Rydberg", "Torr", "erg", "Ω", "atom", "atoms", "electron", "electrons", "states", "dimensionless",
})  # fmt: skip
PREFIXES = tuple("fpnuµμmcdkMGT")
_PART = re.compile(r"e?a0|[^\s\d*/·^()+\-⁺⁻⁰¹²³⁴-⁹]+")


def unknown_part(unit: str) -> tuple[str, str] | None:
    """What is wrong with a unit a part of which is none, and what would work.

    >>> unknown_part("cal/(mol K)"), unknown_part("meV/atom"), unknown_part("eV/furlong")
    (None, None, ('no unit is called furlong', 'known are such as eV, kcal/mol, e*Å^2, D, ppm; null: none'))
    """
    for part in _PART.findall(unit):
        if part in PLAIN or part in PREFIXED or (part.startswith(PREFIXES) and part[1:] in PREFIXED):
            continue
        match = nearest(part, sorted(PLAIN | PREFIXED))
        hint = f"did you mean {match}?" if match else "known are such as eV, kcal/mol, e*Å^2, D, ppm; null: none"
        return f"no unit is called {shown(part)}", hint
    return None

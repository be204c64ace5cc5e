"""Names allowed in units of arbitrary labels, which are shown but not converted."""

from __future__ import annotations

import re

from e3frame.spec.base import shown
from e3frame.spec.errors import nearest

PREFIXED = frozenset({
    "eV", "Hartree", "hartree", "Ha", "Ry", "cal", "J", "mol", "e", "C", "D", "Debye", "debye", "V", "A", "m", "g", "s",
    "K", "Pa", "bar", "T", "G", "Hz", "N", "W", "L",
})  # fmt: skip
"""Units that allow a prefix such as k or m."""
PLAIN = frozenset({
    "Å", "Ang", "Angstrom", "angstrom", "bohr", "Bohr", "a0", "nm", "kcal", "kJ", "meV", "atm", "amu", "u", "Da", "min",
    "h", "rad", "deg", "°", "%", "ppm", "ppb", "μB", "μ_B", "mu_B", "muB", "kB", "hbar", "au", "a.u.", "Eh",
    "E_h", "ea0", "Rydberg", "Torr", "erg", "Ω", "atom", "atoms", "electron", "electrons", "states", "dimensionless",
})  # fmt: skip
PREFIXES = tuple("fpnuµμmcdkMGT")
_PART = re.compile(r"e?a0|[^\s\d*/·^()+\-⁺⁻⁰¹²³⁴-⁹]+")


def unknown_part(unit: str) -> tuple[str, str] | None:
    """Return problem and hint for a unit with an unknown part, or None.

    >>> unknown_part("cal/(mol K)"), unknown_part("meV/atom"), unknown_part("eV/furlong")
    (None, None, ('unknown unit furlong', 'examples: eV, kcal/mol, e*Å^2, D, ppm; or null for no unit'))
    """
    for part in _PART.findall(unit):
        if part in PLAIN or part in PREFIXED or (part.startswith(PREFIXES) and part[1:] in PREFIXED):
            continue
        match = nearest(part, sorted(PLAIN | PREFIXED))
        hint = f"did you mean {match}?" if match else "examples: eV, kcal/mol, e*Å^2, D, ppm; or null for no unit"
        return f"unknown unit {shown(part)}", hint
    return None

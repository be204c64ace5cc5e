"""Names that a unit can be made of, for labels of any kind, whose units are shown and not converted."""

from __future__ import annotations

import re

from e3frame.spec.base import mistake, shown
from e3frame.spec.errors import nearest

PREFIXED = frozenset({
    "eV", "Hartree", "hartree", "Ha", "Ry", "cal", "J", "mol", "e", "C", "D", "Debye", "debye", "V", "A", "m", "g", "s",
    "K", "Pa", "bar", "T", "G", "Hz", "N", "W", "L",
})  # fmt: skip
"""Those that take a prefix, such as k or m."""
PLAIN = frozenset({
    "Å", "Ang", "Angstrom", "angstrom", "bohr", "Bohr", "a0", "nm", "kcal", "kJ", "meV", "atm", "amu", "u", "Da", "min",
    "h", "rad", "deg", "°", "%", "ppm", "ppb", "μB", "muB", "kB", "hbar", "au", "a.u.",
})  # fmt: skip
PREFIXES = tuple("fpnuµμmcdkMGT")
_PART = re.compile(r"a0|[^\s\d*/·^()+\-⁺⁻⁰¹²³⁴-⁹]+")


def require_exists(unit: str) -> None:
    """Raises a mistake for a part of a unit that is none.

    >>> require_exists("cal/(mol K)"), require_exists("e*Å^2"), require_exists("ppm")
    (None, None, None)
    """
    for part in _PART.findall(unit):
        if part in PLAIN or part in PREFIXED or (part.startswith(PREFIXES) and part[1:] in PREFIXED):
            continue
        match = nearest(part, sorted(PLAIN | PREFIXED))
        hint = f"did you mean {match}?" if match else "known are such as eV, kcal/mol, e*Å^2, D, ppm; null: none"
        raise mistake(f"no unit is called {shown(part)}", hint)

"""Units that a file states, in many spellings, and the units to read it with."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from e3frame.spec.base import shown
from e3frame.spec.errors import DataError
from e3frame.spec.quantities import QUANTITIES
from e3frame.spec.units import (
    DIPOLE,
    ENERGY,
    LENGTH,
    PRESSURE,
    Units,
    known_units,
    with_units,
)

MOLE = 6.02214076e23
PARTS = {
    ("ev", "electronvolt", "electronvolts"): ((1, 0, 0), 1.0),
    ("mev",): ((1, 0, 0), 1e-3),
    ("ha", "hartree", "hartrees", "eh", "e_h"): ((1, 0, 0), ENERGY["Hartree"]),
    ("ry", "rydberg", "rydbergs"): ((1, 0, 0), ENERGY["Ry"]),
    ("kcal", "kilocalorie", "kilocalories"): ((1, 0, 0), ENERGY["kcal/mol"] * MOLE),
    ("kj", "kilojoule", "kilojoules"): ((1, 0, 0), ENERGY["kJ/mol"] * MOLE),
    ("mol", "mole"): ((0, 0, 0), MOLE),
    ("å", "a", "ang", "angs", "angstrom", "angstroms", "ångström", "ångstrom", "angstroem"): ((0, 1, 0), 1.0),
    ("bohr", "bohrs", "a0", "a_0"): ((0, 1, 0), LENGTH["bohr"]),
    ("nm", "nanometer", "nanometers"): ((0, 1, 0), LENGTH["nm"]),
    ("gpa",): ((1, -3, 0), PRESSURE["GPa"]),
    ("kbar",): ((1, -3, 0), PRESSURE["kbar"]),
    ("d", "debye", "debyes"): ((0, 1, 1), DIPOLE["D"]),
    ("e",): ((0, 0, 1), 1.0),
}
"""Powers of energy, length and charge, and the value in eV, Å and e, by the names of a unit."""
KNOWN = {name: value for names, value in PARTS.items() for name in names}
LENGTHS = {
    "length",
    "lengths",
    "distance",
    "distances",
    "position",
    "positions",
    "pos",
    "coordinates",
    "coords",
    "coord",
}
LENGTHS |= {"coord", "coords", "r", "cell"}
"""Names of lengths in metadata, in lower case."""
TABLES_OF_UNITS = {"unit", "units", "property_unit", "property_units", "property_unit_dict", "unit_dict", "units_dict"}
_FACTOR = re.compile(r"([/*]?)([^\W\d]+0?)(?:\^?([+-]?\d+))?")


def is_unit_key(key: str) -> bool:
    """Whether a key of this name states a unit."""
    name = key.lower().strip("_")
    return name in TABLES_OF_UNITS or name.endswith(("_unit", "_units")) or name.startswith(("unit_", "units_"))


def statements(found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield quantities, or keys of labels, with the unit that a file states for them.

    >>> list(statements({"_distance_unit": "Ang", "_property_unit_dict": {"U0": "Ha"}, "units": "eV", "name": "x"}))
    [('distance', 'Ang'), ('U0', 'Ha'), ('energy', 'eV')]
    """
    for key, value in found.items():
        if not (isinstance(key, str) and is_unit_key(key)):
            continue
        name = key.strip("_")
        if isinstance(value, Mapping):
            yield from ((str(quantity), unit) for quantity, unit in value.items())
        elif name.lower() in TABLES_OF_UNITS:
            yield "energy", value
        else:
            yield re.sub(r"^units?_|_units?$", "", name, flags=re.IGNORECASE), value


def combined(
    given: Units, found: Mapping[str, Any], keys: Mapping[str, str], file: str, quantities: Iterable[str] | None = None
) -> Units:
    """Return the units of a file: those of the user, else those that the file states.

    Args:
        found: keys and values of the file, for :func:`statements`.
        keys: key of each label.
        quantities: quantities that are read; None: all that have units.

    Raises:
        DataError: the file contradicts the user or itself, or states an unknown unit.
    """
    stated_units = list(statements(found))
    changes = {}
    tables = with_units()
    for quantity in tables if quantities is None else quantities:
        table = tables[quantity]
        own = given.unit_of(quantity)
        stated = (_resolved(unit, quantity, own, file) for unit in _of(quantity, keys.get(quantity), stated_units))
        units = {unit for unit in stated if unit is not None}
        if len(units) > 1:
            raise DataError(f"states the {quantity} in {' and in '.join(sorted(units))}", file=file)
        for unit in units:
            if own is not None and not math.isclose(table[own], table[unit], rel_tol=1e-6):
                problem = f"states the {quantity} in {unit}, but data.units.{quantity} is {own}"
                raise DataError(problem, file=file, hint=f"remove data.units.{quantity}, or correct the file")
            changes[quantity] = own or unit
    return given.replace(**changes)


def _of(quantity: str, key: str | None, stated: list[tuple[str, Any]]) -> list[Any]:
    """Return the units stated for a quantity: under the label's key, else under any name of the quantity."""
    exact = [unit for name, unit in stated if name == key]
    spellings = LENGTHS if quantity == "length" else QUANTITIES[quantity].spellings | {quantity}
    return exact or [unit for name, unit in stated if name.lower() in spellings]


def _resolved(unit: Any, quantity: str, own: str | None, file: str) -> str | None:
    """Return the name of a unit in our tables; None if it is empty, or if it is unknown but the user gives a unit."""
    if unit is None or unit in ("", "1"):
        return None
    name = unit_named(unit, quantity)
    if name is None and own is None:
        problem = f"states the {quantity} in {shown(unit)}, which is not a unit of {quantity}"
        raise DataError(problem, file=file, hint=f"{known_units(quantity)}; set it with data.units.{quantity}=UNIT")
    return name


def unit_named(unit: Any, quantity: str) -> str | None:
    """Return our name of a unit, given in any spelling or as its value in eV, Å and e; None if it is unknown.

    >>> unit_named("kcal/mol/Ang", "forces"), unit_named("KCAL mol^-1", "energy"), unit_named("a.u.", "length")
    ('kcal/mol/Å', 'kcal/mol', 'bohr')
    >>> unit_named("MeV", "energy"), unit_named(27.211386, "energy"), unit_named("Ang", "energy")
    (None, 'Hartree', None)
    """
    value = float(unit) if isinstance(unit, int | float) and not isinstance(unit, bool) else _value(unit, quantity)
    if value is None or not math.isfinite(value):
        return None
    return next((name for name, one in with_units()[quantity].items() if math.isclose(one, value, rel_tol=1e-4)), None)


def _value(unit: Any, quantity: str) -> float | None:
    if not isinstance(unit, str) or len(unit) > 60:
        return None
    text = unicodedata.normalize("NFC", unit).strip().replace("**", "^").replace("·", "*")
    if text.lower() in ("a.u.", "au", "atomic", "atomic units"):
        return LENGTH["bohr"] if quantity == "length" else QUANTITIES[quantity].atomic_unit
    text = re.sub(r"\s*([/*])\s*", r"\1", re.sub(r"[()\[\]{}]", "", text))
    text = re.sub(r"\s+", "*", text)
    powers, value, end = [0, 0, 0], 1.0, 0
    for match in _FACTOR.finditer(text):
        sign, name, power = match.groups()
        known = KNOWN.get(name.lower())
        if match.start() != end or known is None or name in ("MeV", "MEV"):
            return None
        end = match.end()
        exponent = int(power or 1) * (-1 if sign == "/" else 1)
        if abs(exponent) > 3:
            return None
        powers = [a + exponent * b for a, b in zip(powers, known[0], strict=True)]
        value *= known[1] ** exponent
    wanted = (0, 1, 0) if quantity == "length" else QUANTITIES[quantity].powers
    return value if end == len(text) and tuple(powers) == wanted else None

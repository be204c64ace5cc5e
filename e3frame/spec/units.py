"""Units of data files: how a config gives them, and the factors that convert labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ConfigDict, field_validator, model_validator
from pydantic_core import PydanticCustomError

from e3frame.spec.base import Spec, mistake, mistake_at, shown
from e3frame.spec.errors import nearest
from e3frame.spec.quantities import QUANTITIES
from e3frame.spec.unit_values import DIPOLE as DIPOLE
from e3frame.spec.unit_values import ENERGY as ENERGY
from e3frame.spec.unit_values import FORCE as FORCE
from e3frame.spec.unit_values import LENGTH as LENGTH
from e3frame.spec.unit_values import POLARIZABILITY as POLARIZABILITY
from e3frame.spec.unit_values import PRESSURE as PRESSURE
from e3frame.spec.unit_values import canonical as canonical


def with_units() -> dict[str, Mapping[str, float]]:
    """Return the units of each quantity that can have its own unit in a config, ``length`` included."""
    return {"length": LENGTH} | {name: quantity.units for name, quantity in QUANTITIES.items() if quantity.units}


def converted() -> list[str]:
    """Return the quantities whose labels are converted if a file has other units of energy and length."""
    return [name for name, quantity in QUANTITIES.items() if quantity.powers is not None]


class Units(Spec):
    """Units of a file: length, energy, and other quantities, ``{energy: Hartree, length: bohr, stress: GPa}``.

    Units that are not given here are taken from the file if it states them. Otherwise they follow from the units of
    energy and length: forces are in energy/length, polarizabilities in length^3. Other quantities that can be given are
    forces (any energy/length), stress (eV/Å^3, GPa, kbar), virial (an energy), dipole (e*Å, D, e*bohr), polarizability
    (Å^3, bohr^3), and those of plugins.
    """

    model_config = ConfigDict(extra="allow")

    length: str | None = None
    """Å (or A), bohr, nm; null: as stated in the file, else Å."""
    energy: str | None = None
    """eV, meV, Hartree, Ry, kcal/mol, kJ/mol; null: as stated in the file, else eV."""

    @classmethod
    def known_keys(cls) -> Collection[str]:
        return with_units()

    @field_validator("length", mode="before")
    @classmethod
    def _length(cls, name: Any) -> str | None:
        return None if name is None else _known(name, "length")

    @field_validator("energy", mode="before")
    @classmethod
    def _energy(cls, name: Any) -> str | None:
        return None if name is None else _known(name, "energy")

    @model_validator(mode="before")
    @classmethod
    def _of_quantities(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        found = dict(raw)
        for quantity in raw.keys() & with_units().keys() - cls.model_fields.keys():
            given = found.pop(quantity)
            try:
                found |= {} if given is None else {quantity: _known(given, quantity)}
            except PydanticCustomError as error:
                raise mistake_at(str(quantity), given, error) from None
        return found

    @property
    def of_labels(self) -> dict[str, str]:
        """Units of labels that have their own unit."""
        return dict(self.model_extra or {})

    def unit_of(self, quantity: str) -> str | None:
        """Return the unit given for a quantity, or for ``length``, or None."""
        return self.of_labels.get(quantity) if quantity not in type(self).model_fields else getattr(self, quantity)

    def length_factor(self) -> float:
        """Return the factor from the file's length unit to Å."""
        return LENGTH[self.length or "Å"]

    def label_factor(self, label: str) -> float:
        """Return the factor from the file's unit of a label to its unit inside e3frame.

        >>> Units(length="nm", energy="meV").label_factor("forces")
        0.0001
        """
        quantity = QUANTITIES.get(label)
        if quantity is None:
            return 1.0
        own = self.of_labels.get(label)
        return quantity.scale(ENERGY[self.energy or "eV"], self.length_factor()) if own is None else quantity.units[own]


def _known(name: Any, what: str) -> str:
    table = with_units()[what]
    if not isinstance(name, str):
        raise mistake(f"expected a unit of {what}, got {shown(name)}", known_units(what))
    found = canonical(name)
    if found not in table:
        match = nearest(name, table)
        hint = f"did you mean {match}? " if match else ""
        raise mistake(f"{shown(name)} is not a unit of {what}", hint + known_units(what))
    return found


def known_units(what: str) -> str:
    """List the units of a quantity, for a message.

    >>> known_units("forces")
    'known: any of eV, meV, Hartree, Ry, kcal/mol, kJ/mol per any of Å, bohr, nm'
    """
    table = with_units()[what]
    if table is FORCE:
        return f"known: any of {', '.join(ENERGY)} per any of {', '.join(LENGTH)}"
    return f"known: {', '.join(table)}"

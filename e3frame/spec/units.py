"""Units of the files that hold data: how a config gives them, and what labels are multiplied by."""

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
    """Quantities that may be given in units of their own, with the values of these; ``length`` is one of them."""
    return {"length": LENGTH} | {name: quantity.units for name, quantity in QUANTITIES.items() if quantity.units}


def converted() -> list[str]:
    """Quantities whose labels are converted if a file has other units of energy and length."""
    return [name for name, quantity in QUANTITIES.items() if quantity.powers is not None]


class Units(Spec):
    """Units of a file: of length and energy, and of any other quantity that has units of its own, by its name.

    Where a quantity has none here, its unit follows from those of energy and length: forces are in energy/length,
    polarizabilities in length^3. ``{energy: Hartree, length: bohr, stress: GPa}``. Other quantities with units of their
    own are forces (any energy/length), stress (eV/Å^3, GPa, kbar), virial (an energy), dipole (e*Å, D, e*bohr),
    polarizability (Å^3, bohr^3), and those of plugins. What a file itself says of its units holds where nothing is
    given here.
    """

    model_config = ConfigDict(extra="allow")

    length: str | None = None
    """Å (or A), bohr, nm; null: what the file says, else Å."""
    energy: str | None = None
    """eV, meV, Hartree, Ry, kcal/mol, kJ/mol; null: what the file says, else eV."""

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
        """Labels that have a unit of their own."""
        return dict(self.model_extra or {})

    def unit_of(self, quantity: str) -> str | None:
        """The unit that is given for a quantity, or for ``length``; None if there is none."""
        return self.of_labels.get(quantity) if quantity not in type(self).model_fields else getattr(self, quantity)

    def length_factor(self) -> float:
        """A length of the file times this is in Å."""
        return LENGTH[self.length or "Å"]

    def label_factor(self, label: str) -> float:
        """A label of the file times this is in the unit that the label has inside e3frame.

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
    table = with_units()[what]
    return f"known: {', '.join(ENERGY)}; by {', '.join(LENGTH)}" if table is FORCE else f"known: {', '.join(table)}"

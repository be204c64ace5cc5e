"""Statistics of the training data: the values of ``auto`` in a spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from e3frame.spec.base import Spec


class Statistics(Spec):
    """Statistics of the training split, computed once in float64."""

    species: tuple[str, ...]
    """Chemical symbols present, by increasing atomic number."""
    energy_shift: dict[str, Annotated[float, Field(allow_inf_nan=False)]]
    """Reference energy of each species in eV: of its isolated atom, or from a least squares fit of the total energies
    to the compositions."""
    energy_scale: float = Field(gt=0, allow_inf_nan=False)
    """Root mean square of the force components in eV/Å, or without forces the standard deviation of the energy per atom
    after the shifts, in eV; 1 if neither exceeds rounding errors."""
    avg_num_neighbors: float = Field(gt=0, allow_inf_nan=False)
    """Mean number of edges per atom within r_max; 1 if there are none."""
    undetermined: tuple[str, ...] = ()
    """Species whose reference energy the training frames do not determine."""
    scale_of: Literal["forces", "energies", "nothing"] = "forces"
    """Source of the scale."""


class Shifts(NamedTuple):
    """Reference energies of an output with the label ``label``: one number, or one per species; None if ``auto``."""

    label: str
    values: Mapping[str, float] | float | None

    def of(self, symbol: str) -> float | None:
        """Return the reference energy of a species, or None."""
        return self.values.get(symbol) if isinstance(self.values, Mapping) else self.values

"""What a model needs to know of its training data: the values that ``auto`` in a spec stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from e3frame.spec.base import Spec


class Statistics(Spec):
    """Computed once from the training split, in float64."""

    species: tuple[str, ...]
    """Chemical symbols present, by increasing atomic number."""
    energy_shift: dict[str, Annotated[float, Field(allow_inf_nan=False)]]
    """Reference energy of each species in eV: that of its isolated atom, or least squares of the total energies on the
    compositions."""
    energy_scale: float = Field(gt=0, allow_inf_nan=False)
    """Root mean square of the force components in eV/Å, or without forces the standard deviation of the
    energy per atom after the shifts, in eV; 1 where neither is more than rounding."""
    avg_num_neighbors: float = Field(gt=0, allow_inf_nan=False)
    """Edges per atom within r_max; 1 where there are none."""
    undetermined: tuple[str, ...] = ()
    """Species whose reference energy the training frames do not determine."""
    scale_of: Literal["forces", "energies", "nothing"] = "forces"
    """What gave the scale."""


class Shifts(NamedTuple):
    """Reference energies of an output, learned from the label ``label``: one number, or one for each species; None
    where they are ``auto``."""

    label: str
    values: Mapping[str, float] | float | None

    def of(self, symbol: str) -> float | None:
        """That of a species, if it has one."""
        return self.values.get(symbol) if isinstance(self.values, Mapping) else self.values

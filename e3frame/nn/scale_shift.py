"""Scale and shift of atomic energies, always in float64."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from e3frame.nn.float64 import KeepsFloat64
from e3frame.nn.species import out_of_range

__all__ = ["PerSpeciesScaleShift"]


class PerSpeciesScaleShift(KeepsFloat64):
    """y_i = a[s_i] x_i + b[s_i] in float64, for node i of species s_i.

    In float32 a total energy of -17,660 eV has no digits of a meV. Therefore the result is float64, and a and b stay
    float64 if the module is cast (``.float()``, ``.to(torch.float32)``). Sum the y_i without casting them.

    Args:
        scale: a for each species, in the unit of y.
        shift: b for each species, in the unit of y.

    Raises:
        ValueError: there are no numbers, or different numbers of scales and shifts.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Sequence[float], shift: Sequence[float]) -> None:
        super().__init__()
        if len(scale) != len(shift) or len(scale) == 0:
            raise ValueError(f"scale and shift need one value per species, got {len(scale)} and {len(shift)}")
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float64).clone())
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float64).clone())

    def forward(self, x: Tensor, species: Tensor) -> Tensor:
        """(n, 1) and (n,) -> (n, 1) in float64."""
        try:
            scale, shift = (row.index_select(0, species).unsqueeze(-1) for row in (self.scale, self.shift))
        except IndexError:
            raise IndexError(out_of_range(species, len(self.scale))) from None
        return torch.addcmul(shift, scale, x.to(torch.float64))

    def extra_repr(self) -> str:
        return f"num_species={len(self.scale)}"

"""From atomic numbers to species, and from species to features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.kernels.values import has_values
from e3frame.nn.parameters import Rows

__all__ = ["SpeciesEmbedding", "SpeciesIndex"]

_HEAVIEST = 118


def out_of_range(species: Tensor, num_species: int) -> str:
    """Return the message for indices of species that are out of range."""
    wrong = sorted({index for index in species.flatten().tolist() if not 0 <= index < num_species})
    return f"indices of {num_species} species lie between 0 and {num_species - 1}, got {', '.join(map(str, wrong[:5]))}"


class SpeciesIndex(nn.Module):
    """Position of each atomic number in a list of species.

    An element that is not in the list gets the index ``num_species``, which is out of range in every table; `check`
    raises an error that names it.

    Args:
        atomic_numbers: the species, in order.

    Raises:
        ValueError: there are no species, one is listed twice, or one is not an atomic number.
    """

    index: Tensor

    def __init__(self, atomic_numbers: Sequence[int]) -> None:
        super().__init__()
        self.atomic_numbers = tuple(int(z) for z in atomic_numbers)
        if not self.atomic_numbers:
            raise ValueError("one or more species are required, got none")
        if len(set(self.atomic_numbers)) < len(self.atomic_numbers):
            raise ValueError(f"species must differ, got {list(self.atomic_numbers)}")
        if not all(1 <= z <= _HEAVIEST for z in self.atomic_numbers):
            raise ValueError(f"atomic numbers lie between 1 and {_HEAVIEST}, got {list(self.atomic_numbers)}")
        index = torch.full((_HEAVIEST + 1,), len(self.atomic_numbers))
        index[list(self.atomic_numbers)] = torch.arange(len(self.atomic_numbers))
        self.register_buffer("index", index, persistent=False)

    def forward(self, z: Tensor) -> Tensor:
        """(n,) atomic numbers -> (n,) indices."""
        return self.index.index_select(0, z)

    def checked(self, z: Tensor) -> Tensor:
        """As `forward`, but raise as `check` does if z is on the CPU, where that need not wait for a device."""
        if not (z.is_cpu and has_values(z)):
            return self(z)
        try:
            species: Tensor = self(z)
        except IndexError:  # not an element at all
            self.check(z)
            raise
        if z.numel() and int(species.max()) == len(self.atomic_numbers):
            self.check(z)
        return species

    def check(self, z: Tensor) -> None:
        """Raise ValueError if z holds an element that is not a species. Waits for the device."""
        known = self.index.index_select(0, z.clamp(0, _HEAVIEST).flatten()) < len(self.atomic_numbers)
        if not (known & (z.flatten() >= 0) & (z.flatten() <= _HEAVIEST)).all():
            unknown = sorted(set(z.flatten().tolist()) - set(self.atomic_numbers))
            raise ValueError(f"species are the atomic numbers {list(self.atomic_numbers)}, got also {unknown}")

    def extra_repr(self) -> str:
        return f"{list(self.atomic_numbers)}"


class SpeciesEmbedding(nn.Module):
    """x_i = T[s_i]: a learned row of scalars for each species, initially standard normal.

    Args:
        num_species: number of species.
        irreps_out: irreps of a row, only 0e: a species has no direction and no handedness.

    Raises:
        ValueError: num_species is not positive, or irreps other than 0e.
    """

    def __init__(self, num_species: int, irreps_out: IrrepsLike) -> None:
        super().__init__()
        self.irreps_out = Irreps(irreps_out)
        if num_species < 1:
            raise ValueError(f"num_species must be positive, got {num_species}")
        if not self.irreps_out.is_scalar():
            raise ValueError(f"a species embedding has even scalars (0e) only, got {self.irreps_out}")
        self.num_species = num_species
        self.weight = nn.Parameter(torch.randn(num_species, self.irreps_out.dim))

    def forward(self, species: Tensor) -> Tensor:
        """(n,) indices of species -> (n, irreps_out.dim)."""
        try:
            return F.embedding(species, self.weight)
        except IndexError:
            raise IndexError(out_of_range(species, self.num_species)) from None

    def species_rows(self) -> dict[str, list[Rows]]:
        return {"weight": [Rows(self.weight)]}

    def extra_repr(self) -> str:
        return f"{self.num_species} -> {self.irreps_out}"

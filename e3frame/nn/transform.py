"""Transforms of the length of an edge by the sizes of its two atoms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from e3frame.kernels.constants import as_floating
from e3frame.nn.float64 import KeepsFloat64
from e3frame.nn.species import out_of_range

__all__ = ["AgnesiTransform", "SoftTransform", "SumOfRadii"]


class SumOfRadii(KeepsFloat64):
    """R_i + R_j for each edge, with a radius for each species.

    Args:
        radii: radius of each species, Å.

    Raises:
        ValueError: there are no radii, or one is not positive.
    """

    radii: Tensor

    def __init__(self, radii: Sequence[float]) -> None:
        super().__init__()
        if len(radii) == 0 or not all(radius > 0 for radius in radii):
            raise ValueError(f"one positive radius for each species is required, got {list(radii)}")
        self.register_buffer("radii", torch.tensor(radii, dtype=torch.float64), persistent=False)

    def forward(self, species: Tensor, edge_index: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """(n,) and (2, e) -> (e,) of type ``dtype`` (float64 if None), Å."""
        try:
            radii = self.radii.to(dtype or torch.float64).index_select(0, species)
        except IndexError:
            raise IndexError(out_of_range(species, len(self.radii))) from None
        return radii.index_select(0, edge_index[0]) + radii.index_select(0, edge_index[1])

    def extra_repr(self) -> str:
        return f"num_species={len(self.radii)}"


class AgnesiTransform(nn.Module):
    """t(d) = 1/(1 + a s^q/(1 + s^(q - p))) with s = 2 d/(R_i + R_j): from 1 at d = 0 towards 0, steepest near bonds.

    The transform of Witt et al. 2023 (ACEpotentials.jl, https://doi.org/10.1063/5.0158783). Evaluated as
    a s^p/(1 + s^(p - q)) in the denominator, which has no poles.

    Args:
        radii: covalent radius of each species, Å.
        a, p, q: factor and exponents, p > q > 0.

    Raises:
        ValueError: a radius that is not positive.
    """

    def __init__(self, radii: Sequence[float], a: float = 1.0805, p: float = 4.5791, q: float = 0.9183) -> None:
        super().__init__()
        self.sum = SumOfRadii(radii)
        self.a, self.p, self.q = a, p, q

    def forward(self, d: Tensor, species: Tensor, edge_index: Tensor) -> Tensor:
        """Lengths (e,) in Å, (n,) and (2, e) -> (e,)."""
        d = as_floating(d)
        s = d / (0.5 * self.sum(species, edge_index, d.dtype))
        return 1.0 / (1.0 + self.a * s**self.p / (1.0 + s ** (self.p - self.q)))

    def extra_repr(self) -> str:
        return f"a={self.a:g}, p={self.p:g}, q={self.q:g}"


class SoftTransform(nn.Module):
    """t(d) = l + (d - l) (1 + tanh(α (d - m)/(h - l)))/2: d where atoms are apart, and nearly l where they overlap.

    l = 3/4 and h = 4/3 of R_i + R_j, m = (l + h)/2. A transform of MACE (Batatia et al. 2023,
    https://arxiv.org/abs/2401.00096).

    Args:
        radii: covalent radius of each species, Å.
        steepness: α.

    Raises:
        ValueError: a radius that is not positive.
    """

    def __init__(self, radii: Sequence[float], steepness: float = 4.0) -> None:
        super().__init__()
        self.sum = SumOfRadii(radii)
        self.steepness = steepness

    def forward(self, d: Tensor, species: Tensor, edge_index: Tensor) -> Tensor:
        """Lengths (e,) in Å, (n,) and (2, e) -> (e,), Å."""
        d = as_floating(d)
        bond = self.sum(species, edge_index, d.dtype)
        low, high = 3 / 4 * bond, 4 / 3 * bond
        step = 0.5 * (1.0 + torch.tanh(self.steepness * (d - 0.5 * (low + high)) / (high - low)))
        return low + (d - low) * step

    def extra_repr(self) -> str:
        return f"steepness={self.steepness:g}"

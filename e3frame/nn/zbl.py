"""Screened repulsion of nuclei."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from e3frame.kernels.constants import as_floating
from e3frame.kernels.functions import polynomial_envelope, safe_norm
from e3frame.nn.reduce import group_sum
from e3frame.nn.transform import SumOfRadii

__all__ = ["ZBL"]

_COULOMB = 14.3996  # e²/4πε0 in eV Å
_BOHR = 0.529  # Å
# Universal screening function of Ziegler, Biersack and Littmark 1985: (coefficient, exponent).
_SCREENING = ((0.1818, 3.2), (0.5099, 0.9423), (0.2802, 0.4028), (0.02817, 0.2016))
_SHORTEST = 1e-5  # Å, about the size of a nucleus; shorter edges count as this long


class ZBL(nn.Module):
    """E_i = ½ Σ_j k Z_i Z_j/r φ(r/a) u(r), the repulsion of Ziegler, Biersack and Littmark (1985), in eV.

    φ is their universal screening function, a = c a₀/(Z_i^n + Z_j^n). u is the polynomial envelope of exponent p that
    ends at the sum of both covalent radii, or at r_max if that is less.

    Args:
        numbers: atomic number of each species.
        radii: covalent radius of each species, Å.
        r_max: cutoff of the graph, Å.
        p: exponent of the envelope.
        prefactor, exponent: c and n.

    Raises:
        ValueError: different numbers of atomic numbers and radii.
    """

    charges: Tensor

    def __init__(
        self,
        numbers: Sequence[int],
        radii: Sequence[float],
        r_max: float,
        p: int = 6,
        prefactor: float = 0.8854,
        exponent: float = 0.23,
    ) -> None:
        super().__init__()
        if len(numbers) != len(radii):
            raise ValueError(f"one radius for each species is required, got {len(radii)} for {len(numbers)}")
        self.r_max, self.p, self.prefactor, self.exponent = float(r_max), p, float(prefactor), float(exponent)
        self.sum = SumOfRadii(radii)
        self.register_buffer("charges", torch.tensor(numbers, dtype=torch.get_default_dtype()), persistent=False)

    def forward(self, vectors: Tensor, species: Tensor, edge_index: Tensor) -> Tensor:
        """Edge vectors (e, 3) in Å, (n,) and (2, e) -> energies (n, 1) in eV."""
        r = safe_norm(as_floating(vectors)).clamp(min=_SHORTEST)
        z_i, z_j = self.charges.index_select(0, species).index_select(0, edge_index.flatten()).view(2, -1)
        a = self.prefactor * _BOHR / (z_i**self.exponent + z_j**self.exponent)
        screening = sum(c * torch.exp(-b * r / a) for c, b in _SCREENING)
        ends = self.sum(species, edge_index, r.dtype).clamp(max=self.r_max)
        energies = 0.5 * _COULOMB * z_i * z_j / r * screening * polynomial_envelope(r, self.p, ends)
        return group_sum(energies.unsqueeze(-1), edge_index[1], species.shape[0])

    def extra_repr(self) -> str:
        return f"p={self.p}, prefactor={self.prefactor:g}, exponent={self.exponent:g}"

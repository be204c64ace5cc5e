"""Derivatives of an energy: forces and stress."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import forward_ad

from e3frame.algebra.cartesian import index_irreps, read_formula, reduce_tensor
from e3frame.algebra.irreps import Irreps
from e3frame.kernels.constants import constant
from e3frame.kernels.values import has_tangents

__all__ = ["NegativeGradient", "StrainGradient", "detached", "has_tangents", "strained"]


def detached(x: Tensor) -> Tensor:
    """Return ``x.detach()``, but keep the tangent of x under forward-mode differentiation."""
    if not has_tangents():
        return x.detach()
    primal, tangent = forward_ad.unpack_dual(x)
    return primal.detach() if tangent is None else forward_ad.make_dual(primal.detach(), tangent.detach())


class NegativeGradient(nn.Module):
    """F_i = -∂(Σ_g E_g)/∂r_i, in eV/Å for an energy in eV. Graphs share no atoms, so each force has one energy."""

    def forward(self, gradient: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Gradient of the energies with respect to the positions (n, 3) -> forces (n, 3).

        Args:
            gradient: ∂(Σ_g E_g)/∂r_i.
            dtype: dtype of the forces; None: that of the gradient.
        """
        return -gradient.to(dtype=dtype)


def _read_symmetric_basis() -> NDArray[np.float64]:
    indices, group = read_formula("ij=ji")
    return reduce_tensor(indices, group, index_irreps(indices, group, {"i": Irreps("1o")})).change_of_basis


_symmetric_basis = constant(_read_symmetric_basis)
"""Basis (6, 3, 3) of symmetric matrices as irreps 0e + 2e."""


def strained(x: Tensor, strain: Tensor, graph: Tensor) -> Tensor:
    """``x + ε x`` with the symmetric part ε of the strain of each vector's graph.

    Args:
        x: (rows, 3) positions, or shifts of edges.
        strain: (g, 3, 3).
        graph: (rows,) the graph of each row.
    """
    symmetric = (strain + strain.mT) / 2
    return x + torch.bmm(x.unsqueeze(1), symmetric.index_select(0, graph)).squeeze(1)


class StrainGradient(nn.Module):
    """σ_g = (1/V_g) ∂E_g/∂ε_g as irreps 0e + 2e, in eV/Å^3 for an energy in eV, with the sign of ASE."""

    def forward(self, gradient: Tensor, cell: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Gradient of the energies with respect to the strain (g, 3, 3) -> (g, 6); NaN if the cell has no volume.

        Args:
            gradient: ∂(Σ_g E_g)/∂ε_g, see :func:`strained`.
            cell: (g, 3, 3), lattice vectors as rows.
            dtype: dtype of the stress; None: that of the gradient.
        """
        volume = torch.linalg.det(cell).abs().reshape(-1, 1)
        basis = _symmetric_basis(dtype=gradient.dtype, device=gradient.device)
        irreps = gradient.flatten(1) @ basis.flatten(1).mT
        # Divide by one where the volume is zero: the derivative of x / 0 would be NaN even though it is masked.
        flat = volume == 0
        return (irreps / volume.masked_fill(flat, 1.0)).masked_fill(flat, torch.nan).to(dtype=dtype)

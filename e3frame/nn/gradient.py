"""Forces as the negative gradient of an energy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["NegativeGradient"]


class NegativeGradient(nn.Module):
    """F_i = -∂(Σ_g E_g)/∂r_i: for an energy in eV, in eV/Å. Graphs share no atoms, so the sum mixes nothing."""

    def forward(self, energy: Tensor, pos: Tensor, create_graph: bool = False) -> Tensor:
        """Energies (g, 1) that depend on positions (n, 3) -> forces (n, 3).

        Args:
            energy: energies of the graphs.
            pos: positions, which require gradients.
            create_graph: whether the forces will be differentiated in turn, as in training.
        """
        # The graph is kept so that several outputs may be differentiated; it is freed with the energy.
        (gradient,) = torch.autograd.grad(energy.sum(), pos, create_graph=create_graph, retain_graph=True)
        return -gradient

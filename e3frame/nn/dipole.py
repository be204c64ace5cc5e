"""Dipole moments from atomic charges and vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from e3frame.kernels.constants import as_floating
from e3frame.nn.reduce import FixedSum, group_sum

__all__ = ["Dipole"]


class Dipole(nn.Module):
    """μ = Σ_n q_n (r_n - R) + v_n with the centre of mass R and charges that add up to the total charge.

    Args:
        masses: mass of each species.
        total_charge: charge of every graph for which `forward` gets none.
    """

    masses: Tensor

    def __init__(self, masses: Sequence[float], total_charge: float = 0.0) -> None:
        super().__init__()
        self.charges = FixedSum(total_charge)
        self.register_buffer("masses", torch.tensor(masses, dtype=torch.float64), persistent=False)

    def forward(
        self,
        x: Tensor,
        pos: Tensor,
        species: Tensor,
        batch: Tensor,
        num_graphs: int,
        total_charge: Tensor | None = None,
    ) -> Tensor:
        """Charges (n, 1), or charges and vectors (n, 4); positions (n, 3); (n,), (n,) -> (num_graphs, 3).

        Positions may be float64 even if charges are float32: the result is then as accurate far from the origin.

        Args:
            total_charge: (num_graphs, 1), charge of each graph.
        """
        x, pos = as_floating(x), as_floating(pos)
        mass = self.masses.to(pos.dtype).index_select(0, species).unsqueeze(-1)
        weighted = group_sum(mass * pos, batch, num_graphs)
        centre = weighted / group_sum(mass, batch, num_graphs).clamp(min=torch.finfo(mass.dtype).tiny)
        charges = self.charges(x[:, :1], batch, num_graphs, total_charge)
        each = charges * (pos - centre.index_select(0, batch)).to(charges.dtype)
        if x.shape[1] > 1:
            each = each + x[:, 1:]
        return group_sum(each, batch, num_graphs)

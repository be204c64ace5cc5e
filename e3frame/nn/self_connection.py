"""Linear map of a node's features whose weights depend on its attributes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from e3frame import kernels
from e3frame.algebra.interaction import SelfConnectionPlan
from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.algebra.paths import plan_fully_connected

__all__ = ["SelfConnection"]


class SelfConnection(nn.Module):
    """out_iw = Σ_uv W_uvw x_iu a_iv for each irrep: the fully connected product with even scalars a, as linear maps.

    Equal to ``FullyConnectedTensorProduct(irreps_in, irreps_attributes, irreps_out)``, including weights and
    normalization, but it contracts attributes with weights first, which takes less time for l > 0 and in derivatives.

    Args:
        irreps_in: features x of the nodes.
        irreps_attributes: attributes a, 0e only.
        irreps_out: features of the output; irreps that ``irreps_in`` lacks are zero.
        num_species: number of species, if nodes of one species have the same attributes: their matrices are then
            computed once. None if attributes differ from node to node.

    Raises:
        ValueError: there are no attributes, or others than 0e.
    """

    def __init__(
        self,
        irreps_in: IrrepsLike,
        irreps_attributes: IrrepsLike,
        irreps_out: IrrepsLike,
        num_species: int | None = None,
    ) -> None:
        super().__init__()
        self.irreps_attributes = Irreps(irreps_attributes).simplify()
        if not self.irreps_attributes.is_scalar() or self.irreps_attributes.dim == 0:
            raise ValueError(f"attributes must be even scalars (0e), got {self.irreps_attributes or 'none'}")
        self.plan = plan_fully_connected(irreps_in, self.irreps_attributes, irreps_out)
        self._connection = SelfConnectionPlan(self.plan, num_species)
        self.irreps_in, self.irreps_out = self.plan.irreps_in1, self.plan.irreps_out
        self.weight = nn.Parameter(torch.randn(self.plan.weight_numel))

    def forward(self, x: Tensor, attributes: Tensor, species: Tensor | None = None) -> Tensor:
        """(n, irreps_in.dim) and (n, irreps_attributes.dim) -> (n, irreps_out.dim).

        Args:
            species: (n,), with ``num_species``.
        """
        return kernels.self_connection(x, attributes, self.weight, species, self._connection)

    def weight_matrices(self) -> dict[str, list[Tensor]]:
        """Return the matrix (u v, w) of each path, as the outer product of x and a is mapped to the output."""
        return {
            "weight": [self.weight[where].view(-1, ins.path_shape[-1]) for ins, where, _ in self.plan.matrix_paths()]
        }

    def extra_repr(self) -> str:
        return f"{self.irreps_in} x {self.irreps_attributes} -> {self.irreps_out} | {self.plan.weight_numel} weights"

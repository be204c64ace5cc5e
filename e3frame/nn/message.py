"""Messages along edges: a channel-wise product, summed over the edges of each node."""

from __future__ import annotations

from torch import Tensor, nn

from e3frame import kernels
from e3frame.algebra.paths import ProductPlan

__all__ = ["Message"]


class Message(nn.Module):
    """out_i = Σ_{e: j -> i} w_e ⊙ (x_j ⊗ y_e) / √N: no weights of its own, and nothing stored per edge.

    Args:
        plan: channel-wise (uvu) paths with weights, such as those of `e3frame.algebra.paths.plan_channelwise`.
        avg_num_neighbors: N, the mean number of edges of a node.

    Raises:
        ValueError: ``avg_num_neighbors`` is not positive.
    """

    def __init__(self, plan: ProductPlan, avg_num_neighbors: float = 1.0) -> None:
        super().__init__()
        if not avg_num_neighbors > 0:
            raise ValueError(f"avg_num_neighbors must be positive, got {avg_num_neighbors}")
        self.irreps_in, self.irreps_sh, self.irreps_out = plan.irreps_in1, plan.irreps_in2, plan.irreps_out
        self.avg_num_neighbors = float(avg_num_neighbors)
        self.plan = plan.scaled(self.avg_num_neighbors**-0.5)

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_sh: Tensor, weights: Tensor, edge_pairs: Tensor | None = None
    ) -> Tensor:
        """(n, irreps_in.dim) -> (n, irreps_out.dim).

        Args:
            x: features of the nodes.
            edge_index: (2, e), rows source and target.
            edge_sh: (e, irreps_sh.dim).
            weights: (e, weight_numel of the plan), or (p, weight_numel) with ``edge_pairs``.
            edge_pairs: (e,) row of each edge in ``weights``, if edges share rows; see `e3frame.kernels.pairs`.
        """
        return kernels.convolution(x, edge_index, edge_sh, weights, self.plan, x.shape[0], edge_pairs)

    def extra_repr(self) -> str:
        return f"{self.irreps_in} x {self.irreps_sh} -> {self.irreps_out}, avg_num_neighbors={self.avg_num_neighbors:g}"

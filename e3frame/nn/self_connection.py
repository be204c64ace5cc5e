"""Linear map of a node's features whose weights depend on its attributes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.algebra.paths import plan_fully_connected

__all__ = ["SelfConnection"]


class SelfConnection(nn.Module):
    """out_iw = Σ_uv W_uvw x_iu a_iv for each irrep: the fully connected product with even scalars a, as linear maps.

    It equals ``FullyConnectedTensorProduct(irreps_in, irreps_attributes, irreps_out)``, weights and normalization
    included, but contracts attributes with weights first, which costs less for l > 0, above all in derivatives.

    Args:
        irreps_in: features x of the nodes.
        irreps_attributes: attributes a, 0e only.
        irreps_out: features to give; those that ``irreps_in`` does not have are zero.

    Raises:
        ValueError: attributes other than 0e, or none.
    """

    def __init__(self, irreps_in: IrrepsLike, irreps_attributes: IrrepsLike, irreps_out: IrrepsLike) -> None:
        super().__init__()
        self.irreps_attributes = Irreps(irreps_attributes).simplify()
        if not self.irreps_attributes.is_scalar() or self.irreps_attributes.dim == 0:
            raise ValueError(f"attributes must be even scalars (0e), got {self.irreps_attributes or 'none'}")
        self.plan = plan_fully_connected(irreps_in, self.irreps_attributes, irreps_out)
        self.irreps_in, self.irreps_out = self.plan.irreps_in1, self.plan.irreps_out
        self.weight = nn.Parameter(torch.randn(self.plan.weight_numel))

    def forward(self, x: Tensor, attributes: Tensor) -> Tensor:
        """(n, irreps_in.dim) and (n, irreps_attributes.dim) -> (n, irreps_out.dim)."""
        slices = self.irreps_in.slices()
        terms: list[list[Tensor]] = [[] for _ in self.irreps_out]
        for ins, where in zip(self.plan.instructions, self.plan.weight_slices, strict=True):
            ir = self.irreps_in[ins.i_in1].ir
            weight = self.weight[where].unflatten(0, ins.path_shape)
            # The symbol of l ⊗ 0 -> l is the unit matrix over √(2l + 1).
            matrices = torch.einsum("nv,uvw->nuw", attributes * (ins.path_weight * ir.dim**-0.5), weight)
            features = x[:, slices[ins.i_in1]].unflatten(-1, (ins.path_shape[0], ir.dim))
            terms[ins.i_out].append((matrices.mT @ features).flatten(1))
        totals = [
            sum(own[1:], start=own[0]) if own else x.new_zeros(len(x), mul_ir.dim)
            for own, mul_ir in zip(terms, self.irreps_out, strict=True)
        ]
        return torch.cat([x[:, :0], *totals], dim=-1)

    def extra_repr(self) -> str:
        return f"{self.irreps_in} x {self.irreps_attributes} -> {self.irreps_out} | {self.plan.weight_numel} weights"

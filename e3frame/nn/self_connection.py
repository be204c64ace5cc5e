"""Linear map of a node's features whose weights depend on its attributes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from e3frame import kernels
from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.algebra.paths import plan_fully_connected
from e3frame.algebra.plan import ProductPlan
from e3frame.kernels.native.linear import write_linear
from e3frame.o3.indexed_linear import indexed_paths

__all__ = ["SelfConnection"]


class SelfConnection(nn.Module):
    """out_iw = Σ_uv W_uvw x_iu a_iv for each irrep: the fully connected product with even scalars a, as linear maps.

    It equals ``FullyConnectedTensorProduct(irreps_in, irreps_attributes, irreps_out)``, weights and normalization
    included, but contracts attributes with weights first, which costs less for l > 0, above all in derivatives.

    Args:
        irreps_in: features x of the nodes.
        irreps_attributes: attributes a, 0e only.
        irreps_out: features to give; those that ``irreps_in`` does not have are zero.
        num_species: given where nodes of one species have the same attributes, so that their matrices may be computed
            once; None if attributes differ from node to node.

    Raises:
        ValueError: attributes other than 0e, or none.
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
        self.irreps_in, self.irreps_out = self.plan.irreps_in1, self.plan.irreps_out
        self.weight = nn.Parameter(torch.randn(self.plan.weight_numel))

        self.num_species = num_species
        self._native = None if num_species is None else _native_texts(self.plan, num_species)

    def forward(self, x: Tensor, attributes: Tensor, species: Tensor | None = None) -> Tensor:
        """(n, irreps_in.dim) and (n, irreps_attributes.dim) -> (n, irreps_out.dim).

        Args:
            species: (n,), with ``num_species``.
        """
        rows = None
        if self._native is not None and species is not None and x.shape[0] and kernels.runs_natively(x):
            rows = kernels.first_rows(species, self.num_species)
        if rows is not None:
            matrices = kernels.linear(attributes.index_select(0, rows), self.weight, None, self._native[0])
            return kernels.linear(x, matrices, species, self._native[1])
        terms: list[list[Tensor]] = [[] for _ in self.irreps_out]
        slices = self.irreps_in.slices()
        for ins, where, c in indexed_paths(self.plan):
            weight = self.weight[where].unflatten(0, ins.path_shape)
            matrices = torch.einsum("nv,uvw->nuw", attributes * c, weight)
            features = x[:, slices[ins.i_in1]].unflatten(-1, (ins.path_shape[0], self.irreps_in[ins.i_in1].ir.dim))
            terms[ins.i_out].append((matrices.mT @ features).flatten(1))
        totals = [
            sum(own[1:], start=own[0]) if own else x.new_zeros(x.shape[0], mul_ir.dim)
            for own, mul_ir in zip(terms, self.irreps_out, strict=True)
        ]
        return torch.cat([x[:, :0], *totals], dim=-1)

    def extra_repr(self) -> str:
        return f"{self.irreps_in} x {self.irreps_attributes} -> {self.irreps_out} | {self.plan.weight_numel} weights"


def _native_texts(plan: ProductPlan, num_species: int) -> tuple[str, str]:
    """The matrices Σ_v W_uvw a_v of all paths as one linear map of a, and the maps that they are of x, by species."""
    rows, matrices, maps, begin = [], [], [], 0
    size = sum(ins.path_shape[0] * ins.path_shape[2] for ins, _, _ in indexed_paths(plan))
    for ins, where, c in indexed_paths(plan):
        mul_u, mul_v, mul_w = ins.path_shape
        maps.append((ins.i_in1, ins.i_out, begin, size, mul_w, c))
        begin += mul_u * mul_w
        for u in range(mul_u):
            matrices.append((0, len(rows), where.start + u * mul_v * mul_w, 0, mul_w, 1.0))
            rows.append((mul_w, (0, 1)))
    return (
        write_linear(plan.irreps_in2, Irreps(rows), 1, matrices),
        write_linear(plan.irreps_in1, plan.irreps_out, num_species, maps),
    )

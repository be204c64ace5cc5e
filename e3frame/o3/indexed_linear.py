"""Linear maps that depend on the kind of each row, such as the species of an atom."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import torch
from torch import Tensor, nn

from e3frame import kernels
from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.algebra.paths import plan_fully_connected
from e3frame.algebra.plan import Instruction, ProductPlan
from e3frame.kernels.native.linear import write_linear
from e3frame.o3.tensor_product import expand_mask


class IndexedLinear(nn.Module):
    """``out_wi = Σ_u c W[index]_uw x_ui``: a linear map with its own weights for each value of ``index``.

    It equals ``FullyConnectedTensorProduct(irreps_in, f"{num_indices}x0e", irreps_out)`` of x and the one-hot vector of
    ``index``, weights and normalization included, without the product by zeros.

    Args:
        num_indices: number of values that ``index`` takes.
    """

    def __init__(self, irreps_in: IrrepsLike, irreps_out: IrrepsLike, num_indices: int) -> None:
        super().__init__()
        if num_indices < 1:
            raise ValueError(f"num_indices must be at least 1, got {num_indices}")
        self.plan = plan_fully_connected(irreps_in, Irreps([(num_indices, "0e")]), irreps_out)
        self.irreps_in, self.irreps_out = self.plan.irreps_in1, self.plan.irreps_out
        self._dim_in = self.irreps_in.dim
        self.num_indices = num_indices
        self.weight_numel = self.plan.weight_numel
        self.weight = nn.Parameter(torch.randn(self.weight_numel))
        self.register_buffer("output_mask", expand_mask(self.plan.output_mask, self.irreps_out), persistent=False)
        paths = [
            # The weights of a path are (u, index, w).
            (ins.i_in1, ins.i_out, where.start, ins.path_shape[2], prod(ins.path_shape[1:]), c)
            for ins, where, c in indexed_paths(self.plan)
        ]
        self._native = write_linear(self.irreps_in, self.irreps_out, num_indices, paths)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        """``(n, irreps_in.dim)`` and integers ``(n,)`` in ``[0, num_indices)`` -> ``(n, irreps_out.dim)``."""
        if x.ndim != 2 or x.shape[1] != self._dim_in or index.shape != x.shape[:1]:
            raise ValueError(
                f"expected x of shape (n, {self._dim_in}) and index of shape (n,), "
                f"got {tuple(x.shape)} and {tuple(index.shape)}"
            )
        if kernels.runs_natively(x):
            return kernels.linear(x, self.weight, index, self._native)
        parts = x.split([mul_ir.dim for mul_ir in self.irreps_in], dim=-1) if self.irreps_in else ()
        outs: list[Tensor | None] = [None] * len(self.irreps_out)
        for ins, where, c in indexed_paths(self.plan):
            mul, ir = self.irreps_in[ins.i_in1]
            weight = self.weight[where].unflatten(0, ins.path_shape) * c
            out = self._apply_rows(parts[ins.i_in1].unflatten(-1, (mul, ir.dim)), weight, index)
            previous = outs[ins.i_out]
            outs[ins.i_out] = out if previous is None else previous + out
        terms = [
            x.new_zeros(x.shape[0], m.dim) if out is None else out for out, m in zip(outs, self.irreps_out, strict=True)
        ]
        return torch.cat(terms, dim=-1) if terms else x.new_zeros(x.shape[0], 0)

    def _apply_rows(self, x: Tensor, weight: Tensor, index: Tensor) -> Tensor:
        """``(n, u, i), (u, s, w) -> (n, w i)``."""
        if self.num_indices * x.shape[2] > x.shape[1]:
            # A matrix for each row is smaller than the result of every matrix for each row.
            return torch.einsum("zui,zuw->zwi", x, weight.transpose(0, 1).index_select(0, index)).flatten(1)
        every = torch.einsum("zui,usw->zswi", x, weight)
        # An index that is out of range is an error here; on the CPU the next line would read other memory.
        index = torch.arange(self.num_indices, device=index.device).index_select(0, index)
        return every.take_along_dim(index[:, None, None, None], dim=1).flatten(1)

    def species_rows(self) -> dict[str, list[tuple[Tensor, int, float]]]:
        """The weights of each path as ``(u, index, w)``, with their normalization, which depends on ``num_indices``."""
        return {
            "weight": [
                (self.weight[where].unflatten(0, ins.path_shape), 1, ins.path_weight)
                for ins, where, _ in indexed_paths(self.plan)
            ]
        }

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.irreps_in} -> {self.irreps_out} | {self.num_indices} indices "
            f"| {self.weight_numel} weights)"
        )


def indexed_paths(plan: ProductPlan) -> Iterator[tuple[Instruction, slice, float]]:
    """The paths of a fully connected product with even scalars that are not empty: where their weights lie, and the
    factor of the unit matrix that they apply."""
    for ins, where in zip(plan.instructions, plan.weight_slices, strict=True):
        if 0 not in ins.path_shape and where is not None:
            # The symbol of l ⊗ 0 -> l is the unit matrix over √(2l + 1).
            yield ins, where, ins.path_weight * plan.irreps_in1[ins.i_in1].ir.dim ** -0.5

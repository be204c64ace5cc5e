"""Linear maps whose weights depend on an index of each row, such as the species of an atom."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from e3frame import kernels
from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.algebra.paths import plan_fully_connected
from e3frame.o3.tensor_product import expand_mask


class IndexedLinear(nn.Module):
    """``out_wi = Σ_u c W[index]_uw x_ui``: a linear map with separate weights for each value of ``index``.

    Equals ``FullyConnectedTensorProduct(irreps_in, f"{num_indices}x0e", irreps_out)`` of x and the one-hot vector of
    ``index``, including weights and normalization, without multiplying by zeros.

    Args:
        irreps_in, irreps_out: irreps of input and output.
        num_indices: number of values of ``index``.

    Raises:
        ValueError: ``num_indices`` is not positive.
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

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        """Return the linear map (n, irreps_out.dim) of ``x``.

        Args:
            x: (n, irreps_in.dim).
            index: integers (n,) from 0 to num_indices - 1.

        Raises:
            ValueError: tensors of another shape.
        """
        if x.ndim != 2 or x.shape[1] != self._dim_in or index.shape != x.shape[:1]:
            raise ValueError(
                f"expected x of shape (n, {self._dim_in}) and index of shape (n,), "
                f"got {tuple(x.shape)} and {tuple(index.shape)}"
            )
        return kernels.indexed_linear(x, self.weight, index, self.plan)

    def species_rows(self) -> dict[str, list[tuple[Tensor, int, float]]]:
        """The weights of each path as ``(u, index, w)``, with their normalization, which depends on ``num_indices``."""
        return {
            "weight": [
                (self.weight[where].unflatten(0, ins.path_shape), 1, ins.path_weight)
                for ins, where, _ in self.plan.matrix_paths()
            ]
        }

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.irreps_in} -> {self.irreps_out} | {self.num_indices} indices "
            f"| {self.weight_numel} weights)"
        )

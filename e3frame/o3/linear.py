"""Equivariant linear maps, with the same weights for all rows or with weights for each value of an index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod

import torch
from torch import Tensor, nn

from e3frame import kernels
from e3frame.algebra.errors import AssertedError, MissingWeightsError
from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.algebra.linear import LinearInstruction, LinearNormalization, plan_linear
from e3frame.algebra.paths import plan_fully_connected
from e3frame.o3.state import LoadsE3nn
from e3frame.o3.tensor_product import expand_mask


class Linear(LoadsE3nn):
    """``out_wi = Σ_u c W_uw x_ui (+ b_w)``, summed over all pairs of equal irreps, or over given paths.

    The normalization depends on how irreps are divided into terms; simplify them to avoid this.

    Args:
        irreps_in, irreps_out: irreps of input and output.
        f_in, f_out: numbers of channels to mix, on an axis before the irreps; each pair has its own weights.
        internal_weights: whether the module owns its weights; by default it does if they are shared.
        shared_weights: whether all rows share the weights (the default) or each row has its own.
        instructions: paths (i_in, i_out), by default all pairs of equal irreps.
        biases: whether each output term has a bias; True for all 0e.
        path_normalization: see `e3frame.algebra.linear.plan_linear`.
        _optimize_einsums: code generation option of e3nn, which has no effect here.

    Raises:
        ValueError: paths or biases that do not fit the irreps, or internal weights that are not shared.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        irreps_in: IrrepsLike,
        irreps_out: IrrepsLike,
        *,
        f_in: int | None = None,
        f_out: int | None = None,
        internal_weights: bool | None = None,
        shared_weights: bool | None = None,
        instructions: Iterable[tuple[int, int]] | None = None,
        biases: bool | Sequence[bool] = False,
        path_normalization: LinearNormalization = "element",
        _optimize_einsums: bool | None = None,
    ) -> None:
        super().__init__()
        self.plan = plan = plan_linear(irreps_in, irreps_out, biases, f_in, f_out, path_normalization, instructions)
        self.irreps_in, self.irreps_out = plan.irreps_in, plan.irreps_out
        self.instructions = list(plan.instructions)
        self.weight_numel, self.bias_numel = plan.weight_numel, plan.bias_numel
        self.shared_weights = shared_weights is not False
        self.internal_weights = self.shared_weights if internal_weights is None else internal_weights
        if self.internal_weights and not self.shared_weights:
            raise AssertedError(
                "internal weights are shared by all rows; with shared_weights=False, pass weights to forward"
            )
        self._own_weights("weight", torch.randn(plan.weight_shape) if self.internal_weights else None)
        self._own_weights("bias", torch.zeros(plan.bias_shape) if self.internal_weights else None)
        self.register_buffer("output_mask", expand_mask(plan.output_mask, plan.irreps_out), persistent=False)
        self._dim_in = self.irreps_in.dim

    def forward(self, features: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """Return the linear map (..., [f_out,] irreps_out.dim) of ``features``.

        Args:
            features: (..., [f_in,] irreps_in.dim).
            weight: ([f_in, f_out,] weight_numel), with leading dimensions if not shared; by default the module's own.
            bias: ([f_out,] bias_numel), with leading dimensions if not shared; by default the module's own.

        Raises:
            ValueError: missing weights, or tensors of another shape.
        """
        w = self._given("weight", weight, self.plan.weight_shape)
        b = self._given("bias", bias, self.plan.bias_shape)
        if features.shape[-1] != self._dim_in:
            raise AssertedError(f"features must have a last dimension of {self._dim_in}, got {tuple(features.shape)}")
        return kernels.linear(features, w, b, self.plan)

    def _given(self, name: str, tensor: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
        """Check given weights or biases, by default the module's own; None if the map has none."""
        if shape[-1] == 0:
            return None
        if tensor is None:
            if not self.internal_weights:
                raise MissingWeightsError(f"{self!r} has no {name} of its own: pass one of shape {shape}")
            return getattr(self, name)
        if tensor.shape[-len(shape) :] != shape or (self.shared_weights and tensor.ndim > len(shape)):
            lead = "" if self.shared_weights else "..., "
            raise AssertedError(
                f"{name} must have shape ({lead}{', '.join(map(str, shape))}), got {tuple(tensor.shape)}"
            )
        return tensor

    def _views(self, flat: Tensor | None) -> Iterator[tuple[LinearInstruction, Tensor]]:
        if flat is None:
            return
        paths = [ins for ins in self.instructions if ins.i_in >= 0]
        begin = 0
        for ins in paths:
            # Unlike views from split, each view can be written to in place.
            yield ins, flat.narrow(-1, begin, prod(ins.path_shape)).unflatten(-1, ins.path_shape)
            begin += prod(ins.path_shape)

    def weight_view_for_instruction(self, instruction: int, weight: Tensor | None = None) -> Tensor:
        """Return a view (..., *path_shape) of the weights of one path."""
        return list(self._views(self._flat(weight)))[instruction][1]

    def weight_views(
        self, weight: Tensor | None = None, yield_instruction: bool = False
    ) -> Iterator[Tensor | tuple[int, LinearInstruction, Tensor]]:
        """Yield a view of the weights of each path, on request with its number and instruction."""
        for n, (ins, view) in enumerate(self._views(self._flat(weight))):
            yield (n, ins, view) if yield_instruction else view

    def weight_matrices(self) -> dict[str, list[Tensor]]:
        """Return the matrix (..., u, w) of each path."""
        return {"weight": [view for _, view in self._views(self.weight)]} if self.internal_weights else {}

    def _flat(self, weight: Tensor | None) -> Tensor:
        given = self._given("weight", weight, self.plan.weight_shape)
        return self.weight if given is None else given  # no weights: the views are empty

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.irreps_in} -> {self.irreps_out} | {self.weight_numel} weights)"


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
        """Return the weights of each path as (u, index, w), with the axis of the index and their normalization."""
        return {
            "weight": [
                (self.weight[where].unflatten(0, ins.path_shape), 1, ins.path_weight)
                for ins, where, _ in self.plan.matrix_paths()
            ]
        }

    def weight_matrices(self) -> dict[str, list[Tensor]]:
        """Return the matrices (index, u, w) of each path."""
        return {"weight": [view.transpose(0, 1) for view, _, _ in self.species_rows()["weight"]]}

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.irreps_in} -> {self.irreps_out} | {self.num_indices} indices "
            f"| {self.weight_numel} weights)"
        )

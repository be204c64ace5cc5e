"""Products of e3nn's ``o3.experimental``: like those of `e3frame.o3`, with sorted outputs and mixed dtypes."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.algebra.paths import IrrepFilter, plan_elementwise, plan_full
from e3frame.algebra.plan import ProductPlan, check_choice
from e3frame.o3.tensor_product import TensorProduct

__all__ = ["ElementwiseTensorProductv2", "FullTensorProductv2"]

_Normalization = Literal["component", "norm"]


class _Promoting(TensorProduct):
    """A product without weights that casts its inputs to their common dtype."""

    e3nn_constants: ClassVar[tuple[str, ...]] = ("cg_",)

    def _execute(self, plan: ProductPlan) -> None:
        nn.Module.__init__(self)
        self._own(plan, None, None)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:  # type: ignore[override]  # no weights
        """Return the product (..., irreps_out.dim) of (..., irreps_in1.dim) and (..., irreps_in2.dim)."""
        dtype = torch.promote_types(input1.dtype, input2.dtype)
        return super().forward(input1.to(dtype), input2.to(dtype))


class FullTensorProductv2(_Promoting):
    """``z_uv = x_u ⊗ y_v``: all products of irreps, sorted, as in `e3frame.o3.FullTensorProduct`.

    Args:
        irreps_in1, irreps_in2: irreps of x and y.
        filter_ir_out: irreps to keep, by default all.
        irrep_normalization: ``component`` or ``norm``, see `e3frame.o3.TensorProduct`.
        regroup_output: sort and merge the irreps of the inputs, which must then have the layout of the attributes
            ``irreps_in1`` and ``irreps_in2``.

    Raises:
        ValueError: an unknown normalization.

    >>> FullTensorProductv2("1o + 0e", "1o").irreps_in1
    1x0e+1x1o
    """

    def __init__(
        self,
        irreps_in1: IrrepsLike,
        irreps_in2: IrrepsLike,
        *,
        filter_ir_out: IrrepFilter = None,
        irrep_normalization: _Normalization = "component",
        regroup_output: bool = True,
    ) -> None:
        check_choice("irrep_normalization", irrep_normalization, _Normalization)
        irreps_in1, irreps_in2 = Irreps(irreps_in1), Irreps(irreps_in2)
        if regroup_output:
            irreps_in1, irreps_in2 = irreps_in1.regroup(), irreps_in2.regroup()
        self._execute(plan_full(irreps_in1, irreps_in2, filter_ir_out, irrep_normalization=irrep_normalization))


class ElementwiseTensorProductv2(_Promoting):
    """``z_u = x_u ⊗ y_u`` with sorted outputs, otherwise as `e3frame.o3.ElementwiseTensorProduct`.

    Args:
        irreps_in1, irreps_in2: irreps of x and y, equally many.
        filter_ir_out: irreps to keep, by default all.
        irrep_normalization: ``component`` or ``norm``, see `e3frame.o3.TensorProduct`.

    Raises:
        ValueError: an unknown normalization, or different numbers of irreps.

    >>> ElementwiseTensorProductv2("2x1o", "2x1e").irreps_out
    2x0o+2x1o+2x2o
    """

    def __init__(
        self,
        irreps_in1: IrrepsLike,
        irreps_in2: IrrepsLike,
        *,
        filter_ir_out: IrrepFilter = None,
        irrep_normalization: _Normalization = "component",
    ) -> None:
        check_choice("irrep_normalization", irrep_normalization, _Normalization)
        plan = plan_elementwise(irreps_in1, irreps_in2, filter_ir_out, irrep_normalization=irrep_normalization)
        irreps_out, p, _ = plan.irreps_out.sort()
        paths = tuple(ins._replace(i_out=p[ins.i_out]) for ins in plan.instructions)
        self._execute(ProductPlan(plan.irreps_in1, plan.irreps_in2, irreps_out, paths))

"""Products of rows as text: channel-wise products, and fully connected products with a single copy in in2."""

from __future__ import annotations

from dataclasses import replace

from e3frame.algebra.irreps import Irreps
from e3frame.algebra.plan import Instruction, ProductPlan
from e3frame.kernels.backends import kept_with_plans
from e3frame.kernels.native import plans
from e3frame.kernels.native.linear import write_linear

Written = tuple[str, str]
"""A product as a convolution on a graph in which each row is an edge, and a linear map of its result with the weights
of the product; the map is empty where the convolution has the weights."""


@kept_with_plans
def texts_of(plan: ProductPlan) -> Written | None:
    """Write a plan as text; None if the kernels do not run it."""
    if plan.instructions and all(map(_mixes, plan.instructions)):
        return _fully_connected(plan)
    alike = replace(plan, instructions=tuple(map(_channel_wise, plan.instructions)))
    return (plans.encode(alike), "") if plans.runs(alike) else None


def _channel_wise(ins: Instruction) -> Instruction:
    """Write uvuv paths as uvu, which is the same if the second input has one copy."""
    alike = ins.connection_mode == "uvuv" and ins.path_shape[1] == 1
    return ins._replace(connection_mode="uvu") if alike else ins


def _mixes(ins: Instruction) -> bool:
    """Whether a path mixes copies (uvw) and the second input has one copy."""
    return ins.connection_mode == "uvw" and ins.path_shape[1] == 1


def _fully_connected(plan: ProductPlan) -> Written | None:
    """Write Σ_u W_uw (x_u ⊗ y) as products without weights, followed by a linear map."""
    products, maps, middle = [], [], []
    for n, (ins, where) in enumerate(zip(plan.instructions, plan.weight_slices, strict=True)):
        assert where is not None
        mul_u, _, mul_w = ins.path_shape
        middle.append((mul_u, plan.irreps_out[ins.i_out].ir))
        products.append(Instruction(ins.i_in1, ins.i_in2, n, "uvu", False, ins.path_weight, (mul_u, 1)))
        maps.append((n, ins.i_out, where.start, 0, mul_w, 1.0))
    first = replace(plan, irreps_out=Irreps(middle), instructions=tuple(products))
    if not plans.runs(first):
        return None
    return plans.encode(first), write_linear(first.irreps_out, plan.irreps_out, 1, maps)

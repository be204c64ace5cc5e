"""How planned products are executed. Callers use the functions here and need not know which backend runs them."""

from __future__ import annotations

from torch import Tensor

from e3frame.algebra.errors import AssertedError
from e3frame.algebra.plan import ProductPlan
from e3frame.kernels import reference

__all__ = ["convolution", "product"]


def product(x: Tensor, y: Tensor, w: Tensor | None, plan: ProductPlan) -> Tensor:
    """Planned product of x ``(..., irreps_in1.dim)`` and y ``(..., irreps_in2.dim)`` -> ``(..., irreps_out.dim)``.

    Args:
        w: ``(weight_numel,)`` shared by all rows, or ``(..., weight_numel)`` for each row; None if there are none.

    Raises:
        ValueError: a last dimension that is not the plan's, or missing weights.
    """
    _check_last("x", x, plan.irreps_in1.dim)
    _check_last("y", y, plan.irreps_in2.dim)
    if w is not None:
        _check_last("w", w, plan.weight_numel)
    elif plan.weight_numel > 0:
        raise ValueError(f"the product has {plan.weight_numel} weights, got none")
    return reference.product(x, y, w, plan)


def convolution(x: Tensor, edge_index: Tensor, y: Tensor, w: Tensor, plan: ProductPlan, num_nodes: int) -> Tensor:
    """Message passing with a channel-wise product: ``out_i = Σ_{e: j -> i} Σ_paths w_e ⊙ (x_j ⊗ y_e)``.

    Args:
        x: ``(nodes, irreps_in1.dim)``, features of the source nodes.
        edge_index: ``(2, e)``; row 0 is the source j, row 1 the target i.
        y: ``(e, irreps_in2.dim)``, spherical harmonics of the edges.
        w: ``(e, weight_numel)``, weights for each edge, path and copy.
        plan: made by `e3frame.algebra.paths.plan_convolution`.
        num_nodes: number of target nodes.

    Returns:
        ``(num_nodes, irreps_out.dim)``. Targets without edges are zero.

    Raises:
        ValueError: a plan with another connection than a weighted uvu with harmonics of multiplicity 1, or shapes that
            do not fit.
    """
    for ins in plan.instructions:
        if ins.connection_mode != "uvu" or not ins.has_weight or plan.irreps_in2[ins.i_in2].mul != 1:
            raise ValueError(
                "a convolution needs weighted uvu paths with harmonics of multiplicity 1, "
                f"got {ins.connection_mode!r} with {plan.irreps_in2[ins.i_in2]}"
            )
    _check_last("x", x, plan.irreps_in1.dim)
    _check_last("y", y, plan.irreps_in2.dim)
    _check_last("w", w, plan.weight_numel)
    if edge_index.shape != (2, y.shape[0]) or w.shape[0] != y.shape[0]:
        raise ValueError(
            "edge_index, y and w need one entry for each edge, "
            f"got shapes {tuple(edge_index.shape)}, {tuple(y.shape)}, {tuple(w.shape)}"
        )
    return reference.convolution(x, edge_index, y, w, plan, num_nodes)


def _check_last(name: str, tensor: Tensor, expected: int) -> None:
    if tensor.shape[-1] != expected:
        raise AssertedError(f"{name} must have a last dimension of {expected}, got shape {tuple(tensor.shape)}")

"""Gate: scalars pass through activations, all other irreps are multiplied by activated scalars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from e3frame import kernels
from e3frame.algebra.activations import plan_gate
from e3frame.algebra.functions import ActivatedGatePlan, ActivationPlan
from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.nn.activation import Activation, ScalarFunction, scaled, symmetry
from e3frame.o3.state import LoadsE3nn

__all__ = ["Gate"]

Acts = Sequence[str | ScalarFunction | None]


class Gate(LoadsE3nn):
    """(⊕ φ_i(x_i)) ⊕ (⊕ φ_j(g_j) y_j) for scalars x, gates g and gated irreps y (Weiler et al. 2018).

    The input holds scalars, gates and gated irreps, sorted and merged: ``irreps_in``. The output holds the activated
    scalars, then the gated irreps: ``irreps_out``. Activations have unit second moment for normal inputs.

    Args:
        irreps_scalars: l = 0.
        act_scalars: a name, a function or None for each term of ``irreps_scalars``.
        irreps_gates: l = 0, one irrep for each irrep of ``irreps_gated``.
        act_gates: likewise for ``irreps_gates``.
        irreps_gated: any irreps.

    Raises:
        ValueError: see `e3frame.algebra.activations.plan_gate`.

    >>> gate = Gate("16x0o", ["tanh"], "32x0o", ["tanh"], "16x1e+16x1o")
    >>> gate.irreps_in, gate.irreps_out
    (48x0o+16x1o+16x1e, 16x0o+16x1o+16x1e)
    """

    e3nn_constants: ClassVar[tuple[str, ...]] = ("mul.",)

    def __init__(
        self,
        irreps_scalars: IrrepsLike,
        act_scalars: Acts,
        irreps_gates: IrrepsLike,
        act_gates: Acts,
        irreps_gated: IrrepsLike,
    ) -> None:
        super().__init__()
        known = [
            [a if a is None or isinstance(a, str) else symmetry(a) for a in acts] for acts in (act_scalars, act_gates)
        ]
        self.plan = plan_gate(irreps_scalars, known[0], irreps_gates, known[1], irreps_gated)
        self.irreps_in, self.irreps_out = self.plan.irreps_in, self.plan.irreps_out
        self._dim_in = self.irreps_in.dim
        self.irreps_scalars, self.irreps_gates, self.irreps_gated = (
            Irreps(irreps).simplify() for irreps in (irreps_scalars, irreps_gates, irreps_gated)
        )
        self.act_scalars = Activation(irreps_scalars, act_scalars)
        self.act_gates = Activation(irreps_gates, act_gates)
        self._activated = ActivatedGatePlan(self.plan, _acts_of(self.act_scalars), _acts_of(self.act_gates))

    def forward(self, features: Tensor) -> Tensor:
        """(..., irreps_in.dim) -> (..., irreps_out.dim)."""
        if features.shape[-1] != self._dim_in:
            raise ValueError(f"the last axis must be {self._dim_in} ({self.irreps_in}), got {features.shape[-1]}")
        return kernels.gate(features, self._activated)

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({self.irreps_in} -> {self.irreps_out})"


def _acts_of(part: Activation) -> tuple[tuple[int, ActivationPlan], ...]:
    """The number of scalars and the activation of each term."""
    return tuple((mul_ir.mul, scaled(act)) for mul_ir, act in zip(part.irreps_in, part.acts, strict=True))

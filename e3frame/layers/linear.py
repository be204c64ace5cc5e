"""``linear``: mixes the copies of each irrep."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from e3frame.algebra.paths import LinearPlan, plan_linear
from e3frame.spec.irreps import IrrepsField
from e3frame.spec.layer import Binding, OneInput, Scope, Signature, TensorType, require_few_paths
from e3frame.spec.reach import require_within, unread_terms

if TYPE_CHECKING:
    from torch import nn


class Linear(OneInput):
    """``out_w = Σ_u W_uw x_u`` for each irrep; different irreps do not mix."""

    kind: Literal["linear"] = "linear"
    irreps_out: IrrepsField
    """Irreps of the result; each must occur in the input."""
    bias: bool = False
    """Add a trainable bias to the even scalars."""
    equation: ClassVar[str] = r"x'_w = \frac{1}{\sqrt{m}} \sum_{u = 1}^{m} W_{uw}\, x_u \; (+\, b_w)"
    example: ClassVar[str] = "{kind: linear, of: x, irreps_out: 5x0e + 2x1o + 3x2e, bias: true}"
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: linear, of: edge_sh, irreps_out: 2x1o}",
        "{kind: linear, of: x, irreps_out: 2x2e + 3x0o}",
    )

    def infer(self, scope: Scope) -> Signature:
        x = self.read_one(scope)
        require_few_paths("irreps_out", x.irreps, self.irreps_out)
        require_within("irreps_out", self.irreps_out, {ir for _, ir in x.irreps}, f"{x}")
        warnings = unread_terms("irreps_out", x, {ir for _, ir in self.irreps_out})
        return Signature((x.key,), TensorType(self.irreps_out, x.domain), warnings)

    def num_parameters(self, scope: Scope) -> int:
        plan = self._plan(self.read_one(scope))
        return plan.weight_numel + plan.bias_numel

    def build(self, scope: Scope) -> nn.Module:
        from e3frame import o3

        return o3.Linear(self.read_one(scope).irreps, self.irreps_out, biases=self.bias)

    def _plan(self, x: Binding) -> LinearPlan:
        return plan_linear(x.irreps, self.irreps_out, biases=self.bias)

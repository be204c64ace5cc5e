"""``linear``: mixes the copies of each irrep."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from e3frame.algebra.paths import LinearPlan, plan_fully_connected, plan_linear
from e3frame.spec.errors import SpecError
from e3frame.spec.irreps import IrrepsField
from e3frame.spec.layer import SPECIES, Binding, OneInput, Scope, Signature, TensorType, require_few_paths
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
    per_species: bool = False
    """Separate weights W for each species; for a field per node."""
    equation: ClassVar[str] = r"x'_w = \frac{1}{\sqrt{m}} \sum_{u = 1}^{m} W_{uw}\, x_u \; (+\, b_w)"
    example: ClassVar[str] = "{kind: linear, of: x, irreps_out: 5x0e + 2x1o + 3x2e, bias: true}"
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: linear, of: edge_sh, irreps_out: 2x1o}",
        "{kind: linear, of: x, irreps_out: 2x2e + 3x0o}",
        "{kind: linear, of: x, irreps_out: 3x0e + 2x1o, per_species: true}",
    )

    def infer(self, scope: Scope) -> Signature:
        x = self.read_one(scope)
        require_few_paths("irreps_out", x.irreps, self.irreps_out)
        require_within("irreps_out", self.irreps_out, {ir for _, ir in x.irreps}, f"{x}")
        warnings = unread_terms("irreps_out", x, {ir for _, ir in self.irreps_out})
        if self.per_species:
            self._require_atoms(x)
        inputs = (x.key, SPECIES) if self.per_species else (x.key,)
        reversal = max(x.field.reversal, 0) if self.bias else x.field.reversal
        return Signature(inputs, TensorType(self.irreps_out, x.domain, reversal=reversal), warnings)

    def num_parameters(self, scope: Scope) -> int:
        x = self.read_one(scope)
        if self.per_species:
            return plan_fully_connected(x.irreps, f"{scope.num_species}x0e", self.irreps_out).weight_numel
        plan = self._plan(x)
        return plan.weight_numel + plan.bias_numel

    def build(self, scope: Scope) -> nn.Module:
        from e3frame import o3

        x = self.read_one(scope)
        if self.per_species:
            return o3.IndexedLinear(x.irreps, self.irreps_out, scope.num_species)
        return o3.Linear(x.irreps, self.irreps_out, biases=self.bias)

    def _require_atoms(self, x: Binding) -> None:
        if x.domain != "node":
            raise SpecError(("per_species",), f"weights per species need a field per node, but '{x.name}' is {x.field}")
        if self.bias:
            raise SpecError(("bias",), "weights per species have no bias", "remove bias, or per_species")

    def _plan(self, x: Binding) -> LinearPlan:
        return plan_linear(x.irreps, self.irreps_out, biases=self.bias)

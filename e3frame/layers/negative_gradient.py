"""``negative_gradient``: forces from an energy."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from e3frame.algebra.irreps import Irrep, Irreps
from e3frame.spec.errors import SpecError
from e3frame.spec.irreps import IrrepsField
from e3frame.spec.layer import DTYPE, POS, Gradient, LayerSpec, Scope, Signature, TensorType
from e3frame.spec.reach import require_claim

if TYPE_CHECKING:
    from torch import nn


class NegativeGradient(LayerSpec):
    """``-∂E/∂pos`` of each atom: the force in eV/Å for an energy in eV."""

    kind: Literal["negative_gradient"] = "negative_gradient"
    derives = "forces"
    of: str
    """Field per graph to differentiate, one scalar."""
    irreps_out: IrrepsField | None = None
    """Expected irreps of the result; checked if given."""
    equation: ClassVar[str] = r"F_n = -\frac{\partial E}{\partial r_n}"
    example: ClassVar[str] = "{kind: negative_gradient, of: energy}"

    def infer(self, scope: Scope) -> Signature:
        energy = scope.read(self.of, "graph", "of")
        if energy.irreps.dim != 1:
            problem = f"one scalar per graph is required, but {energy} has {energy.irreps.dim} components"
            raise SpecError(("of",), problem)
        out = TensorType(Irreps([(1, Irrep(1, -energy.irreps[0].ir.p))]), "node")
        require_claim(self.irreps_out, scope.irreps(out.irreps), f"the gradient of '{energy.name}'")
        return Signature((Gradient(energy.key, POS), DTYPE), out)

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.gradient import NegativeGradient

        return NegativeGradient()

"""``strain_gradient``: the stress from an energy."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from e3frame.algebra.irreps import Irreps
from e3frame.spec.errors import SpecError
from e3frame.spec.irreps import IrrepsField
from e3frame.spec.layer import CELL, DTYPE, STRAIN, Gradient, LayerSpec, Scope, Signature, TensorType
from e3frame.spec.reach import require_claim

if TYPE_CHECKING:
    from torch import nn


class StrainGradient(LayerSpec):
    """``σ = (1/V) ∂E/∂ε``: the stress in eV/Å^3 for an energy in eV, with ASE's sign (pressure is negative stress).

    The symmetric strain ε displaces atoms and cell together, ``r -> r + ε r``. The result is a symmetric matrix in
    irreps; predictions return it as a matrix. It is NaN for a graph whose cell has no volume.
    """

    kind: Literal["strain_gradient"] = "strain_gradient"
    derives = "stress"
    of: str
    """Field per graph to differentiate, one even scalar."""
    irreps_out: IrrepsField | None = None
    """Expected irreps of the result; checked if given."""
    equation: ClassVar[str] = (
        r"\sigma = \frac{1}{V} \frac{\partial E}{\partial \varepsilon}, \qquad "
        r"r \mapsto (1 + \varepsilon)\, r"
    )
    example: ClassVar[str] = "{kind: strain_gradient, of: energy}"

    def infer(self, scope: Scope) -> Signature:
        energy = scope.read(self.of, "graph", "of")
        if energy.irreps.dim != 1 or not energy.irreps[0].ir.is_scalar():
            raise SpecError(("of",), f"one even scalar per graph is required, but {energy} is not")
        out = TensorType(Irreps("0e + 2e"), "graph")
        require_claim(self.irreps_out, out.irreps, f"the stress of '{energy.name}'")
        return Signature((Gradient(energy.key, STRAIN), CELL, DTYPE), out)

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.gradient import StrainGradient

        return StrainGradient()

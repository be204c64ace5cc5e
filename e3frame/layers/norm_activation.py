"""``norm_activation``: nonlinearity on the norm of each irrep."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from e3frame.spec.activation import ActivationName
from e3frame.spec.layer import OneInput, Scope, Signature

if TYPE_CHECKING:
    from torch import nn


class NormActivation(OneInput):
    """``φ(|x| + b) x / |x|`` for each irrep x of any parity; keeps its direction."""

    kind: Literal["norm_activation"] = "norm_activation"
    act: ActivationName = "sigmoid"
    """The function φ."""
    normalize: bool = True
    """Scale the unit vector x / |x|; otherwise x."""
    bias: bool = False
    """Train a shift b for each irrep."""
    equation: ClassVar[str] = r"x'_u = \varphi(\lVert x_u \rVert + b_u)\, \frac{x_u}{\lVert x_u \rVert}"
    example: ClassVar[str] = "{kind: norm_activation, of: x, act: tanh}"
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: norm_activation, of: x, act: silu, bias: true}",
        "{kind: norm_activation, of: x, act: sigmoid, normalize: false}",
    )

    def infer(self, scope: Scope) -> Signature:
        x = self.read_one(scope)
        return Signature((x.key,), x.field)

    def num_parameters(self, scope: Scope) -> int:
        return self.read_one(scope).irreps.num_irreps if self.bias else 0

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.norm_activation import NormActivation

        irreps = self.read_one(scope).irreps
        return NormActivation(irreps, self.act, normalize=self.normalize, bias=self.bias)

"""``mlp``: a multilayer perceptron on even scalars."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from e3frame.spec.activation import ActivationName
from e3frame.spec.irreps import IrrepsField
from e3frame.spec.layer import OneInput, Scope, Signature, TensorType
from e3frame.spec.limits import COMPONENTS, DEPTH_OF_MLP
from e3frame.spec.reach import require_scalars, require_within

if TYPE_CHECKING:
    from torch import nn

Width = Annotated[int, Field(ge=1, le=COMPONENTS)]
Widths = Annotated[tuple[Width, ...], Field(max_length=DEPTH_OF_MLP)]


class Mlp(OneInput):
    """``x <- φ(x W / √h)``, layer by layer; the last one is linear."""

    kind: Literal["mlp"] = "mlp"
    hidden: Widths = (64,)
    """Widths of the hidden layers."""
    irreps_out: IrrepsField
    """Even scalars, such as 16x0e."""
    act: ActivationName = "silu"
    """The function φ, scaled to unit second moment."""
    bias: bool = False
    """Train a bias in each layer. Without it, inputs that vanish at r_max give outputs that vanish there."""
    equation: ClassVar[str] = r"x \leftarrow \varphi\left( \frac{x W_k}{\sqrt{h_k}} \right), \quad k = 1, 2, \dots"
    example: ClassVar[str] = "{kind: mlp, of: radial, hidden: [8, 8], irreps_out: 5x0e}"
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: mlp, of: species, hidden: [], irreps_out: 3x0e, bias: true, act: tanh}",
    )

    def infer(self, scope: Scope) -> Signature:
        x = self.read_one(scope)
        require_scalars("of", x, "an mlp")
        require_within("irreps_out", self.irreps_out, {ir for _, ir in x.irreps}, "an mlp gives")
        return Signature((x.key,), TensorType(self.irreps_out, x.domain, reversal=max(x.field.reversal, 0)))

    def num_parameters(self, scope: Scope) -> int:
        return sum(a * b + (b if self.bias else 0) for a, b in pairwise(self._widths(scope)))

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.mlp import FullyConnectedNet

        return FullyConnectedNet(self._widths(scope), self.act, bias=self.bias)

    def _widths(self, scope: Scope) -> list[int]:
        x = self.read_one(scope)
        return [x.irreps.dim, *self.hidden, self.irreps_out.dim]

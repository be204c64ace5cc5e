"""``activation``: a function of each scalar."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from e3frame.algebra.activations import activation_parity
from e3frame.algebra.irreps import Irreps
from e3frame.spec.activation import Activations, ByParity
from e3frame.spec.errors import SpecError
from e3frame.spec.layer import OneInput, Scope, Signature, TensorType

if TYPE_CHECKING:
    from torch import nn


class Activation(OneInput):
    """``φ(x)`` of scalars, with φ scaled to unit second moment for normal inputs."""

    kind: Literal["activation"] = "activation"
    act: Activations = ByParity()
    """One function, or one for each parity: ``{e: silu, o: tanh}``."""
    equation: ClassVar[str] = (
        r"x'_u = c_\varphi\, \varphi(x_u), \qquad "
        r"c_\varphi^{-2} = \mathbb{E}_{z \sim N(0, 1)}\, \varphi(z)^2"
    )
    example: ClassVar[str] = "{kind: activation, of: scalars, act: {e: silu, o: abs}}"

    def infer(self, scope: Scope) -> Signature:
        x = self.read_one(scope)
        terms = []
        for mul, ir in x.irreps:
            if ir.l > 0:
                raise SpecError(
                    ("of",),
                    f"an activation needs scalars, but {x} has {ir}",
                    "for l > 0 use a gate or a norm_activation",
                )
            try:
                terms.append((mul, (0, activation_parity(self.act.of(ir.p), ir.p))))
            except ValueError as error:
                what, _, hint = str(error).partition("; ")
                raise SpecError(("act",), f"{what}, but {x} has odd scalars", hint) from None
        return Signature((x.key,), TensorType(Irreps(terms), x.domain, reversal=max(x.field.reversal, 0)))

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.activation import Activation

        irreps = self.read_one(scope).irreps
        return Activation(irreps, [self.act.of(ir.p) for _, ir in irreps])

"""``concatenate``: joins several fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from e3frame.algebra.irreps import Irreps
from e3frame.spec.layer import LayerSpec, Scope, Signature, TensorType
from e3frame.spec.limits import LAYERS

if TYPE_CHECKING:
    from torch import nn


class Concatenate(LayerSpec):
    """``out = x1 ⊕ x2 ⊕ ...``: a linear layer after it mixes equal irreps of all of them."""

    kind: Literal["concatenate"] = "concatenate"
    of: Annotated[tuple[str, ...], Field(min_length=2, max_length=LAYERS)]
    """Fields of one domain, such as [message, species]."""
    equation: ClassVar[str] = r"x' = x_1 \oplus x_2 \oplus \dots"
    example: ClassVar[str] = "{kind: concatenate, of: [x, scalars]}"

    def infer(self, scope: Scope) -> Signature:
        first = scope.read(self.of[0], None, "of")
        fields = [scope.read(name, first.domain, "of") for name in self.of]
        irreps = sum((x.irreps for x in fields), Irreps(""))
        return Signature(tuple(x.key for x in fields), TensorType(irreps, first.domain))

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.concatenate import Concatenate

        return Concatenate()

"""``add``: adds several fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from e3frame.spec.layer import LayerSpec, Scope, Signature, TensorType
from e3frame.spec.limits import LAYERS
from e3frame.spec.reach import require_same

if TYPE_CHECKING:
    from torch import nn


class Add(LayerSpec):
    """``out = x1 + x2 + ...``, such as the energies that are read from each of several layers."""

    kind: Literal["add"] = "add"
    of: Annotated[tuple[str, ...], Field(min_length=2, max_length=LAYERS)]
    """Fields of the same irreps and domain, such as [first_readout, last_readout]."""
    equation: ClassVar[str] = r"x' = x_1 + x_2 + \dots"
    example: ClassVar[str] = "{kind: add, of: [energies, repulsion]}"
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: add, of: [x, x, x]}",
        "{kind: add, of: [radial, radial]}",
    )

    def infer(self, scope: Scope) -> Signature:
        fields = [scope.read(name, None, "of") for name in self.of]
        first = fields[0]
        for x in fields[1:]:
            require_same(x, first, "of")
        signs = {x.field.reversal for x in fields}
        output = TensorType(
            first.irreps,
            first.domain,
            all(x.field.per_species for x in fields),
            first.field.reversal if len(signs) == 1 else 0,
        )
        return Signature(tuple(x.key for x in fields), output)

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.reduce import Add

        return Add()

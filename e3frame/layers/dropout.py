"""``dropout``: drops whole irreps during training."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from e3frame.spec.layer import OneInput, Scope, Signature, TensorType

if TYPE_CHECKING:
    from torch import nn


class Dropout(OneInput):
    """Sets each irrep (all its components) to zero with probability p, and scales the others by 1 / (1 - p)."""

    kind: Literal["dropout"] = "dropout"
    p: float = Field(ge=0, lt=1)
    """Probability of dropping an irrep."""
    equation: ClassVar[str] = r"x'_u = \frac{b_u}{1 - p}\, x_u, \qquad b_u \in \{0, 1\}, \quad P(b_u = 0) = p"
    example: ClassVar[str] = "{kind: dropout, of: x, p: 0.3}"

    def infer(self, scope: Scope) -> Signature:
        x = self.read_one(scope)
        return Signature(
            (x.key,), TensorType(x.irreps, x.domain)
        )  # equal values of nodes or edges are dropped separately

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.dropout import Dropout

        return Dropout(self.read_one(scope).irreps, self.p)

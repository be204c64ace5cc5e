"""``extract``: takes some of the irreps of a field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from e3frame.algebra.irreps import Irreps
from e3frame.spec.errors import SpecError
from e3frame.spec.irreps import IrrepsField
from e3frame.spec.layer import Binding, OneInput, Scope, Signature, TensorType
from e3frame.spec.limits import TERMS
from e3frame.spec.reach import require_within

if TYPE_CHECKING:
    from torch import nn

Position = Annotated[int, Field(ge=0)]


class Extract(OneInput):
    """``out = x_a ⊕ x_b ⊕ ...``: the terms a, b, ... of the irreps of x, unchanged."""

    kind: Literal["extract"] = "extract"
    keep: IrrepsField | None = None
    """Irreps to take, such as 0e + 1o: all their copies, in the order of x."""
    terms: Annotated[tuple[Position, ...], Field(min_length=1, max_length=TERMS)] | None = None
    """Or the terms to take, in this order: 0 is 16x0e in 16x0e + 16x0e + 8x1o."""
    equation: ClassVar[str] = r"x' = x_a \oplus x_b \oplus \dots"
    example: ClassVar[str] = "{kind: extract, of: x, keep: 0e + 1o}"
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: extract, of: x, terms: [2, 0]}",
        "{kind: extract, of: edge_sh, keep: 2e}",
    )

    def infer(self, scope: Scope) -> Signature:
        x = self.read_one(scope)
        irreps = Irreps([x.irreps[i] for i in self._terms(x)])
        return Signature((x.key,), TensorType(irreps, x.domain, x.field.per_species, x.field.reversal))

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.extract import Extract

        x = self.read_one(scope)
        terms = self._terms(x)
        return Extract(x.irreps, [Irreps([x.irreps[i] for i in terms])], [terms], squeeze_out=True)

    def _terms(self, x: Binding) -> tuple[int, ...]:
        if (self.keep is None) == (self.terms is None):
            raise SpecError((), "extract needs either keep or terms", f"write keep: {x.irreps[0].ir}, or terms: [0]")
        if self.keep is not None:
            require_within("keep", self.keep, {ir for _, ir in x.irreps}, f"{x}")
            kept = {ir for _, ir in self.keep}
            return tuple(i for i, (_, ir) in enumerate(x.irreps) if ir in kept)
        assert self.terms is not None
        for n, i in enumerate(self.terms):
            if i >= len(x.irreps):
                raise SpecError(("terms", n), f"terms of {x} count from 0 to {len(x.irreps) - 1}, got {i}")
        return self.terms

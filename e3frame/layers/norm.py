"""``norm``: norm of each irrep."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from e3frame.algebra.irreps import Irreps
from e3frame.spec.layer import OneInput, Scope, Signature, TensorType

if TYPE_CHECKING:
    from torch import nn


class Norm(OneInput):
    """``out_u = |x_u|`` for each copy u of each irrep, in order: even scalars, such as the magnitude of a dipole."""

    kind: Literal["norm"] = "norm"
    squared: bool = False
    """Return ``|x_u|²``, which is smooth also at zero."""
    equation: ClassVar[str] = r"x'_u = \lVert x_u \rVert"
    example: ClassVar[str] = "{kind: norm, of: x}"
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: norm, of: x, squared: true}",
        "{kind: norm, of: edge_vectors}",
    )

    def infer(self, scope: Scope) -> Signature:
        x = self.read_one(scope)
        return Signature((x.key,), TensorType(Irreps([(x.irreps.num_irreps, "0e")]), x.domain))

    def build(self, scope: Scope) -> nn.Module:
        from e3frame import o3

        return o3.Norm(self.read_one(scope).irreps, squared=self.squared)

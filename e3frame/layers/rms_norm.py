"""``rms_norm``: divides the features of each atom by their root mean square."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from e3frame.spec.layer import OneInput, Scope, Signature

if TYPE_CHECKING:
    from torch import nn


class RmsNorm(OneInput):
    """Divides all irreps by one number, the root mean square of their components, without subtracting means.

    Each copy of an irrep counts alike, whatever its degree, as in EquiformerV2 (Liao et al. 2023, arXiv 2306.12059).
    Directions, and the ratios between irreps, stay; ``layer_norm`` divides each irrep by a number of its own instead.
    """

    kind: Literal["rms_norm"] = "rms_norm"
    eps: float = Field(1e-5, gt=0)
    """Added to the mean square."""
    affine: bool = True
    """Train a factor for each irrep."""
    equation: ClassVar[str] = (
        r"x'_u = \gamma_u\, \frac{x_u}{\sqrt{\sigma^2 + \epsilon}}, \qquad "
        r"\sigma^2 = \frac{1}{m} \sum_v \frac{\lVert x_v \rVert^2}{2 l_v + 1}"
    )
    example: ClassVar[str] = "{kind: rms_norm, of: x}"
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: rms_norm, of: edge_sh, affine: false}",
        "{kind: rms_norm, of: charges_and_vectors, eps: 0.1}",
    )

    def infer(self, scope: Scope) -> Signature:
        x = self.read_one(scope)
        return Signature((x.key,), x.field)

    def num_parameters(self, scope: Scope) -> int:
        return self.read_one(scope).irreps.num_irreps if self.affine else 0

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.rms_norm import RMSNorm

        return RMSNorm(self.read_one(scope).irreps, eps=self.eps, affine=self.affine)

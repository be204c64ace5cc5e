"""``layer_norm``: normalizes the features of each atom."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from e3frame.spec.errors import SpecError
from e3frame.spec.layer import OneInput, Scope, Signature

if TYPE_CHECKING:
    from torch import nn


class LayerNorm(OneInput):
    """Divides the copies of each irrep by the root mean square of their components (Liao and Smidt 2023, eq. 5, 6)."""

    kind: Literal["layer_norm"] = "layer_norm"
    eps: float = Field(1e-5, gt=0)
    """Added to the mean square."""
    affine: bool = True
    """Train a factor for each irrep and a shift for each even scalar."""
    center: bool = True
    """Subtract the mean of the scalars first."""
    equation: ClassVar[str] = (
        r"x'_u = \gamma_u\, \frac{x_u - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta_u, \qquad "
        r"\sigma^2 = \frac{1}{m} \sum_v \frac{\lVert x_v - \mu \rVert^2}{2l + 1}"
    )
    example: ClassVar[str] = "{kind: layer_norm, of: x}"
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: layer_norm, of: x, affine: false}",
        "{kind: layer_norm, of: energies, center: false}",
    )

    def infer(self, scope: Scope) -> Signature:
        x = self.read_one(scope)
        alone = [ir for ir in ("0e", "0o") if x.irreps.count(ir) == 1]
        if self.center and alone:
            raise SpecError(
                ("center",),
                f"{x} has a single {alone[0]}, which minus its mean is zero",
                "set center: false, or use more than one",
            )
        return Signature((x.key,), x.field)

    def num_parameters(self, scope: Scope) -> int:
        irreps = self.read_one(scope).irreps
        return irreps.num_irreps + irreps.count("0e") if self.affine else 0

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.layer_norm import LayerNorm

        irreps = self.read_one(scope).irreps
        return LayerNorm(irreps, eps=self.eps, affine=self.affine, center=self.center)

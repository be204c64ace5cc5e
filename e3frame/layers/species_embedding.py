"""``species_embedding``: initial features of the atoms, learned for each species."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from e3frame.spec.errors import SpecError
from e3frame.spec.irreps import IrrepsField
from e3frame.spec.layer import SPECIES, LayerSpec, Scope, Signature, TensorType

if TYPE_CHECKING:
    from torch import nn


class SpeciesEmbedding(LayerSpec):
    """One trainable row of features for each species of the model."""

    kind: Literal["species_embedding"] = "species_embedding"
    irreps_out: IrrepsField
    """Even scalars, such as 32x0e: a species has no direction."""
    equation: ClassVar[str] = r"x_n = W_{z_n}"
    example: ClassVar[str] = "{kind: species_embedding, irreps_out: 8x0e}"

    def infer(self, scope: Scope) -> Signature:
        for mul_ir in self.irreps_out:
            if not mul_ir.ir.is_scalar():
                raise SpecError(
                    ("irreps_out",),
                    f"{mul_ir} is not possible: a species has no direction, so its embedding is 0e only",
                    f"did you mean {self.irreps_out.num_irreps}x0e?",
                )
        return Signature((SPECIES,), TensorType(self.irreps_out, "node", per_species=True))

    def num_parameters(self, scope: Scope) -> int:
        return scope.num_species * self.irreps_out.dim

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.species import SpeciesEmbedding

        return SpeciesEmbedding(scope.num_species, self.irreps_out)

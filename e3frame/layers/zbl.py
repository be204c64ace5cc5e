"""``zbl``: screened repulsion of nuclei at short distances."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from e3frame.algebra.irreps import Irreps
from e3frame.layers._radii import covalent_radii
from e3frame.spec.elements import ATOMIC_NUMBERS
from e3frame.spec.layer import EDGE_INDEX, SPECIES, LayerSpec, Scope, Signature, TensorType
from e3frame.spec.reach import require_vector

if TYPE_CHECKING:
    from torch import nn


class Zbl(LayerSpec):
    """``E_i = ½ Σ_j k Z_i Z_j / r φ(r / a) f(r / (R_i + R_j))`` in eV (Ziegler, Biersack and Littmark 1985).

    φ is their universal screening function, with the length ``a = a_prefactor · 0.529 Å / (Z_i^n + Z_j^n)`` where n is
    a_exponent. The polynomial envelope f ends at the sum of the covalent radii R, or at r_max if that is less. A model
    with this energy stays repulsive at distances of which it has no data:
    ``energy: {kind: sum, of: readout, per_species_scale_shift: auto, plus: repulsion}``.
    """

    kind: Literal["zbl"] = "zbl"
    of: str = "edge_vectors"
    """Field with the edge vector."""
    p: int = Field(6, ge=2, le=100)
    """Exponent of the envelope; larger values decay closer to its end."""
    a_prefactor: float = Field(0.8854, gt=0, le=100)
    """Factor of the screening length a; 0.4543 in mace-torch."""
    a_exponent: float = Field(0.23, ge=0, le=10)
    """Exponent of the atomic numbers in the screening length a; 0.3 in mace-torch."""
    equation: ClassVar[str] = (
        r"E_i = \frac{1}{2} \sum_j \frac{k Z_i Z_j}{r_{ij}}\, \varphi\left( \frac{r_{ij}}{a_{ij}} \right) "
        r"f\left( \frac{r_{ij}}{R_i + R_j} \right), \qquad a_{ij} = \frac{c\, a_0}{Z_i^n + Z_j^n}"
    )
    example: ClassVar[str] = "{kind: zbl}"
    variants: ClassVar[tuple[str, ...]] = ("{kind: zbl, p: 5, a_prefactor: 0.4543, a_exponent: 0.3}",)

    def infer(self, scope: Scope) -> Signature:
        vector = scope.read(self.of, "edge", "of")
        require_vector("of", vector)
        return Signature((vector.key, SPECIES, EDGE_INDEX), TensorType(Irreps("0e"), "node"))

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.zbl import ZBL

        radii = covalent_radii(scope)
        numbers = [ATOMIC_NUMBERS[symbol] for symbol in scope.species or ()]
        return ZBL(numbers, radii, scope.r_max, self.p, self.a_prefactor, self.a_exponent)

"""``spherical_harmonics``: spherical harmonics of edge directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from e3frame.algebra.irreps import Irrep
from e3frame.spec.errors import SpecError
from e3frame.spec.irreps import IrrepsField
from e3frame.spec.layer import LayerSpec, Scope, Signature, TensorType
from e3frame.spec.reach import require_vector

if TYPE_CHECKING:
    from torch import nn


class SphericalHarmonics(LayerSpec):
    """Real spherical harmonics ``Y_l(r / |r|)`` of one vector."""

    kind: Literal["spherical_harmonics"] = "spherical_harmonics"
    of: str = "edge_vectors"
    """Field with the vector, 1x1o or 1x1e."""
    irreps_out: IrrepsField
    """Degrees to compute, such as 0e + 1o + 2e."""
    normalize: bool = True
    """Divide the vector by its length first; otherwise the harmonics are polynomials in it."""
    normalization: Literal["component", "integral", "norm"] = "component"
    """Squared norm of degree l: 2l + 1 (component), 1 (norm), or (2l + 1) / 4π (integral)."""
    equation: ClassVar[str] = r"x_{lm} = Y_{lm}\left( \frac{r}{\lVert r \rVert} \right)"
    example: ClassVar[str] = "{kind: spherical_harmonics, irreps_out: 0e + 1o + 2e + 3o}"
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: spherical_harmonics, irreps_out: 1o + 2e, normalize: false, normalization: norm}",
        "{kind: spherical_harmonics, irreps_out: 0e + 3o, normalization: integral}",
    )

    def infer(self, scope: Scope) -> Signature:
        vector = scope.read(self.of, None, "of")
        require_vector("of", vector)
        parity = vector.irreps[0].ir.p
        for _, ir in self.irreps_out:
            right = Irrep(ir.l, parity**ir.l)
            if ir != right:
                raise SpecError(
                    ("irreps_out",),
                    f"{ir} is not possible: the harmonic of degree {ir.l} of {vector} is {right}",
                    f"did you mean {right}?",
                )
        return Signature((vector.key,), TensorType(self.irreps_out, vector.domain))

    def build(self, scope: Scope) -> nn.Module:
        from e3frame import o3

        irreps_in = scope.read(self.of, None, "of").irreps
        return o3.SphericalHarmonics(self.irreps_out, self.normalize, self.normalization, irreps_in=irreps_in)

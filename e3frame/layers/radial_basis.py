"""``radial_basis``: the length of each edge as a few smooth numbers that vanish at r_max."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field as Constraint

from e3frame.algebra.irreps import Irreps
from e3frame.spec.errors import SpecError
from e3frame.spec.layer import Field, LayerSpec, Scope, Signature
from e3frame.spec.limits import COMPONENTS
from e3frame.spec.registry import Kinded, OneOf

if TYPE_CHECKING:
    from torch import nn


class Envelope(Kinded, family="envelope"):
    """A factor that takes the basis smoothly to zero at r_max."""

    saved = True

    def build(self, r_max: float) -> nn.Module:
        raise NotImplementedError(f"{type(self).__name__}.build")


class PolynomialEnvelope(Envelope):
    """The polynomial of Gasteiger et al. 2020 (arXiv 2003.03123, eq. 8): value and two derivatives vanish at r_max."""

    kind: Literal["polynomial"] = "polynomial"
    p: int = Constraint(6, ge=2, le=100)
    """Order: the larger, the later it falls off."""

    def build(self, r_max: float) -> nn.Module:
        from e3frame.nn.radial import PolynomialEnvelope

        return PolynomialEnvelope(r_max, self.p)


class CosineEnvelope(Envelope):
    """``(1 + cos(π r / r_max)) / 2`` (Behler 2011): value and slope vanish at r_max."""

    kind: Literal["cosine"] = "cosine"

    def build(self, r_max: float) -> nn.Module:
        from e3frame.nn.radial import CosineEnvelope

        return CosineEnvelope(r_max)


class RadialBasis(LayerSpec):
    """``basis_k(r) · envelope(r)`` of the length r of each edge."""

    kind: Literal["radial_basis"] = "radial_basis"
    of: str = "edge_vectors"
    """The field with the edge vector."""
    basis: Literal["bessel", "gaussian"] = "bessel"
    """Bessel functions ``sin(kπ r / r_max) / r`` (Gasteiger et al. 2020), or evenly spaced Gaussians (Schütt et al.
    2017)."""
    num_basis: int = Constraint(8, ge=1, le=COMPONENTS)
    """Number of functions k."""
    trainable: bool = False
    """Train the frequencies of the Bessel functions."""
    envelope: OneOf[Envelope] = PolynomialEnvelope()
    """``{kind: polynomial, p: 6}`` or ``{kind: cosine}``."""
    equation: ClassVar[str] = (
        r"x_k(r) = B_k(r)\, f(r), \qquad "
        r"B_k(r) = \sqrt{\frac{2}{r_\mathrm{max}}}\, \frac{\sin(k \pi r / r_\mathrm{max})}{r} \quad \text{(bessel)}"
    )
    example: ClassVar[str] = "{kind: radial_basis, num_basis: 6, trainable: true, envelope: {kind: polynomial, p: 5}}"
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: radial_basis, basis: gaussian, num_basis: 5, envelope: {kind: cosine}}",
        "{kind: radial_basis, basis: bessel, num_basis: 3, envelope: {kind: cosine}}",
    )

    def infer(self, scope: Scope) -> Signature:
        vector = scope.read(self.of, "edge", "of")
        if vector.irreps.dim != 3 or vector.irreps.lmax != 1:
            raise SpecError(("of",), f"one vector is required (1x1o or 1x1e), {vector} is not")
        if self.trainable and self.basis != "bessel":
            raise SpecError(("trainable",), f"only bessel functions can be trained, basis is {self.basis}")
        of_length = Field(Irreps([(self.num_basis, (0, 1))]), "edge", reversal=1 if vector.field.reversal else 0)
        return Signature((vector.key,), of_length)

    def num_parameters(self, scope: Scope) -> int:
        return self.num_basis if self.trainable else 0

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.radial import BesselBasis, GaussianBasis, RadialBasis

        if self.basis == "bessel":
            basis: nn.Module = BesselBasis(scope.r_max, self.num_basis, self.trainable)
        else:
            basis = GaussianBasis(scope.r_max, self.num_basis)
        return RadialBasis(basis, self.envelope.build(scope.r_max))

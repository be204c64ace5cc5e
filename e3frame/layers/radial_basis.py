"""``radial_basis``: smooth functions of the edge length that vanish at r_max."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from e3frame.algebra.irreps import Irreps
from e3frame.spec.errors import SpecError
from e3frame.spec.layer import LayerSpec, Scope, Signature, TensorType
from e3frame.spec.limits import COMPONENTS
from e3frame.spec.registry import Kinded, KindOf, OneOf

if TYPE_CHECKING:
    from torch import nn

    from e3frame.nn.radial import Basis


class Envelope(Kinded, family="envelope"):
    """Factor that goes smoothly to zero at r_max."""

    saved = True

    def build(self, r_max: float) -> nn.Module:
        raise NotImplementedError(f"{type(self).__name__}.build")


class PolynomialEnvelope(Envelope):
    """The polynomial of Gasteiger et al. 2020 (arXiv 2003.03123, eq. 8): value and two derivatives vanish at r_max."""

    kind: Literal["polynomial"] = "polynomial"
    p: int = Field(6, ge=2, le=100)
    """Exponent; larger values decay closer to r_max."""

    def build(self, r_max: float) -> nn.Module:
        from e3frame.nn.radial import PolynomialEnvelope

        return PolynomialEnvelope(r_max, self.p)


class CosineEnvelope(Envelope):
    """``(1 + cos(π r / r_max)) / 2`` (Behler 2011): value and slope vanish at r_max."""

    kind: Literal["cosine"] = "cosine"

    def build(self, r_max: float) -> nn.Module:
        from e3frame.nn.radial import CosineEnvelope

        return CosineEnvelope(r_max)


class RadialFunctions(Kinded, family="radial basis"):
    """Smooth functions of the edge length."""

    saved = True
    trainable: ClassVar[bool] = False
    """Whether the functions have ``num_basis`` parameters, which ``trainable: true`` trains."""

    def build(self, r_max: float, num_basis: int, trainable: bool) -> Basis:
        """Return a module that maps lengths (e,) to (e, num_basis)."""
        raise NotImplementedError(f"{type(self).__name__}.build")


class BesselFunctions(RadialFunctions):
    """``sin(kπ r / r_max) / r`` (Gasteiger et al. 2020, arXiv 2003.03123)."""

    kind: Literal["bessel"] = "bessel"
    trainable = True

    def build(self, r_max: float, num_basis: int, trainable: bool) -> Basis:
        from e3frame.nn.radial import BesselBasis

        return BesselBasis(r_max, num_basis, trainable)


class GaussianFunctions(RadialFunctions):
    """Evenly spaced Gaussians (Schütt et al. 2017)."""

    kind: Literal["gaussian"] = "gaussian"

    def build(self, r_max: float, num_basis: int, trainable: bool) -> Basis:
        from e3frame.nn.radial import GaussianBasis

        return GaussianBasis(r_max, num_basis)


class RadialBasis(LayerSpec):
    """``basis_k(r) · envelope(r)`` of the length r of each edge."""

    kind: Literal["radial_basis"] = "radial_basis"
    of: str = "edge_vectors"
    """Field with the edge vector."""
    basis: KindOf[RadialFunctions] = "bessel"
    """bessel (``sin(kπ r / r_max) / r``), gaussian (evenly spaced), or a mapping for the functions of a plugin."""
    num_basis: int = Field(8, ge=1, le=COMPONENTS)
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
            raise SpecError(("of",), f"one vector (1x1o or 1x1e) is required, but {vector} is not")
        functions = RadialFunctions.named(self.basis)
        if self.trainable and not functions.trainable:
            can = [kind for kind, member in RadialFunctions.members.items() if member.trainable]
            raise SpecError(("trainable",), f"trainable needs basis: {' or '.join(can)}, got basis: {functions.kind}")
        of_length = TensorType(Irreps([(self.num_basis, (0, 1))]), "edge", reversal=1 if vector.field.reversal else 0)
        return Signature((vector.key,), of_length)

    def num_parameters(self, scope: Scope) -> int:
        return self.num_basis if self.trainable else 0

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.radial import RadialBasis

        basis = RadialFunctions.named(self.basis).build(scope.r_max, self.num_basis, self.trainable)
        return RadialBasis(basis, self.envelope.build(scope.r_max))

"""``radial_basis``: smooth functions of the edge length that vanish at r_max."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from e3frame.algebra.irreps import Irreps
from e3frame.layers._radii import covalent_radii
from e3frame.spec.errors import SpecError
from e3frame.spec.layer import EDGE_INDEX, SPECIES, LayerSpec, Scope, Signature, TensorType
from e3frame.spec.limits import COMPONENTS
from e3frame.spec.reach import require_vector
from e3frame.spec.registry import Kinded, KindOf, OneOf

if TYPE_CHECKING:
    from torch import nn

    from e3frame.nn.radial import Basis


class Envelope(Kinded, family="envelope"):
    """Factor that goes smoothly to zero at r_max."""

    saved = True

    def check(self, r_max: float) -> None:
        """Raise SpecError, with a path inside the envelope, if its keys do not fit r_max."""

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


class XplorEnvelope(Envelope):
    """1 up to ``start``, then ``z² (3 - 2z)`` with ``z = (r_max² - r²) / (r_max² - start²)``.

    Value and slope vanish at r_max. This is the switching function of X-PLOR and CHARMM (Brooks et al. 1983,
    10.1002/jcc.540040211).
    """

    kind: Literal["xplor"] = "xplor"
    start: float = Field(gt=0)
    """Length in Å at which the factor begins to fall, below r_max."""

    def check(self, r_max: float) -> None:
        if self.start >= r_max:
            raise SpecError(("start",), f"must be below r_max = {r_max:g} Å, got {self.start:g}")

    def build(self, r_max: float) -> nn.Module:
        from e3frame.nn.radial import XplorEnvelope

        return XplorEnvelope(self.start, r_max)


class NoEnvelope(Envelope):
    """The factor 1: the functions jump at r_max, and what reads them must end there by another factor."""

    kind: Literal["none"] = "none"

    def build(self, r_max: float) -> nn.Module:
        from e3frame.nn.radial import NoEnvelope

        return NoEnvelope()


class DistanceTransform(Kinded, family="distance transform"):
    """Length that the radial functions read in place of the edge length."""

    saved = True
    pairwise: ClassVar[bool] = True
    """Whether the transform depends on the species of both atoms."""

    def build(self, scope: Scope) -> nn.Module | None:
        """Return a module that maps lengths (e,), species (n,) and edges (2, e) to (e,); None for no transform."""
        raise NotImplementedError(f"{type(self).__name__}.build")


class NoTransform(DistanceTransform):
    """The length itself."""

    kind: Literal["none"] = "none"
    pairwise = False

    def build(self, scope: Scope) -> None:
        return None


class AgnesiTransform(DistanceTransform):
    """``1 / (1 + a s^q / (1 + s^(q - p)))`` with ``s = 2 r / (R_i + R_j)`` (Witt et al. 2023, 10.1063/5.0158783)."""

    kind: Literal["agnesi"] = "agnesi"
    a: float = Field(1.0805, gt=0)
    """Factor a."""
    p: float = Field(4.5791, gt=2, le=100)
    """Exponent p at short distances, larger than q."""
    q: float = Field(0.9183, gt=0, le=100)
    """Exponent q at long distances."""

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.transform import AgnesiTransform

        return AgnesiTransform(covalent_radii(scope), self.a, self.p, self.q)


class SoftTransform(DistanceTransform):
    """``l + (r - l) (1 + tanh(α (r - m) / (h - l))) / 2``: the length r, but nearly l where atoms overlap.

    l, h and m are 3/4, 4/3 and their mean, times the sum of the two covalent radii (Batatia et al. 2023, arXiv
    2401.00096).
    """

    kind: Literal["soft"] = "soft"
    steepness: float = Field(4.0, gt=0, le=100)
    """The number α."""

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.transform import SoftTransform

        return SoftTransform(covalent_radii(scope), self.steepness)


class RadialFunctions(Kinded, family="radial basis"):
    """Smooth functions of the edge length."""

    saved = True
    trainable: ClassVar[bool] = False
    """Whether the functions have ``num_basis`` parameters, which ``trainable: true`` trains."""
    most: ClassVar[int | None] = None
    """Largest ``num_basis``, if there is one."""

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


class ChebyshevFunctions(RadialFunctions):
    """Chebyshev polynomials ``T_k(r / scale)``, k = 1, 2, ..."""

    kind: Literal["chebyshev"] = "chebyshev"
    scale: float | None = Field(None, gt=0)
    """Length in Å that r is divided by; default: r_max. Write 1 for a transform with values from 0 to 1."""

    def build(self, r_max: float, num_basis: int, trainable: bool) -> Basis:
        from e3frame.nn.radial import ChebyshevBasis

        return ChebyshevBasis(r_max if self.scale is None else self.scale, num_basis)


class ConstantFunction(RadialFunctions):
    """The function 1: the field is the envelope alone, such as the ``cutoff`` of a convolution."""

    kind: Literal["constant"] = "constant"
    most = 1

    def build(self, r_max: float, num_basis: int, trainable: bool) -> Basis:
        from e3frame.nn.radial import ConstantBasis

        return ConstantBasis()


class RadialBasis(LayerSpec):
    """``basis_k(t(r)) · envelope(r)`` of the length r of each edge, with ``t(r) = r`` if there is no transform."""

    kind: Literal["radial_basis"] = "radial_basis"
    of: str = "edge_vectors"
    """Field with the edge vector."""
    basis: KindOf[RadialFunctions] = "bessel"
    """bessel (``sin(kπ r / r_max) / r``), gaussian (evenly spaced), chebyshev (polynomials), constant (the envelope
    alone), or a mapping for those with keys of their own: ``{kind: chebyshev, scale: 1.0}``."""
    num_basis: int = Field(8, ge=1, le=COMPONENTS)
    """Number of functions k."""
    trainable: bool = False
    """Train the frequencies of the Bessel functions."""
    envelope: OneOf[Envelope] = PolynomialEnvelope()
    """``{kind: polynomial, p: 6}``, ``{kind: cosine}``, ``{kind: xplor, start: 4.5}`` or ``{kind: none}``."""
    transform: KindOf[DistanceTransform] = "none"
    """Transform t of the length by the covalent radii of both atoms: none, agnesi or soft, or a mapping for those with
    keys of their own: ``{kind: soft, steepness: 4.0}``. The envelope reads the length itself."""
    equation: ClassVar[str] = (
        r"x_k(r) = B_k(t(r))\, f(r), \qquad "
        r"B_k(r) = \sqrt{\frac{2}{r_\mathrm{max}}}\, \frac{\sin(k \pi r / r_\mathrm{max})}{r} \quad \text{(bessel)}"
    )
    example: ClassVar[str] = "{kind: radial_basis, num_basis: 6, trainable: true, envelope: {kind: polynomial, p: 5}}"
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: radial_basis, basis: gaussian, num_basis: 5, envelope: {kind: cosine}}",
        "{kind: radial_basis, basis: bessel, num_basis: 3, envelope: {kind: cosine}}",
        "{kind: radial_basis, basis: {kind: chebyshev, scale: 1.0}, num_basis: 4, transform: agnesi}",
        "{kind: radial_basis, basis: chebyshev, num_basis: 3, envelope: {kind: none}}",
        "{kind: radial_basis, basis: constant, num_basis: 1, envelope: {kind: polynomial, p: 5}}",
        "{kind: radial_basis, num_basis: 3, trainable: true, envelope: {kind: xplor, start: 1.5}}",
        "{kind: radial_basis, num_basis: 4, transform: {kind: soft, steepness: 5.0}}",
        "{kind: radial_basis, basis: gaussian, num_basis: 4, transform: {kind: agnesi, a: 1.1, p: 4.6, q: 0.9}}",
    )

    def infer(self, scope: Scope) -> Signature:
        vector = scope.read(self.of, "edge", "of")
        require_vector("of", vector)
        functions = RadialFunctions.named(self.basis)
        if self.trainable and not functions.trainable:
            can = [kind for kind, member in RadialFunctions.members.items() if member.trainable]
            raise SpecError(("trainable",), f"trainable needs basis: {' or '.join(can)}, got basis: {functions.kind}")
        if functions.most is not None and self.num_basis > functions.most:
            problem = f"basis: {functions.kind} has at most {functions.most} function, got {self.num_basis}"
            raise SpecError(("num_basis",), problem, f"write num_basis: {functions.most}")
        try:
            self.envelope.check(scope.r_max)
        except SpecError as error:
            raise error.under("envelope") from None
        transform = DistanceTransform.named(self.transform)
        of_length = TensorType(Irreps([(self.num_basis, (0, 1))]), "edge", reversal=1 if vector.field.reversal else 0)
        return Signature((vector.key, SPECIES, EDGE_INDEX) if transform.pairwise else (vector.key,), of_length)

    def num_parameters(self, scope: Scope) -> int:
        return self.num_basis if self.trainable else 0

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.radial import RadialBasis

        basis = RadialFunctions.named(self.basis).build(scope.r_max, self.num_basis, self.trainable)
        transform = DistanceTransform.named(self.transform).build(scope)
        return RadialBasis(basis, self.envelope.build(scope.r_max), transform)

"""Real spherical harmonics as polynomials of x, y and z."""

# ruff: noqa: E741 - l is the degree, here as in the literature

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from torch import Tensor, nn

from e3frame import kernels
from e3frame.algebra.functions import HarmonicsNormalization as Normalization
from e3frame.algebra.functions import HarmonicsPlan
from e3frame.algebra.irreps import Irrep, Irreps, IrrepsLike
from e3frame.algebra.plan import check_choice
from e3frame.kernels.constants import as_floating

Degrees: TypeAlias = int | Iterable[int] | str | Irrep | Irreps


class SphericalHarmonics(nn.Module):
    """Real spherical harmonics ``Y^l(x)``, homogeneous polynomials of degree l: ``Y^l(R x) = D^l(R) Y^l(x)``.

    Args:
        irreps_out: one degree, several degrees, or irreps, with the parity of the input to the power l.
        normalize: whether to replace x by x / |x|. A zero vector stays zero and has zero derivatives.
        normalization: ``component``: |Y^l|² = 2l + 1 on the unit sphere; ``norm``: |Y^l| = 1; ``integral``: ∫ Y_m² = 1.
        irreps_in: ``1o`` or ``1e``; by default the one that irreps_out needs, else ``1o``.

    Raises:
        ValueError: irreps_in is not one vector, irreps_out has another parity, or an unknown normalization.
    """

    def __init__(
        self,
        irreps_out: Degrees,
        normalize: bool,
        normalization: Normalization = "integral",
        irreps_in: IrrepsLike = None,
    ) -> None:
        super().__init__()
        check_choice("normalization", normalization, Normalization)
        self.irreps_in, self.degrees = _read_degrees(irreps_out, irreps_in)
        parity = self.irreps_in[0].ir.p
        self.irreps_out = Irreps([(1, (l, parity**l)) for l in self.degrees]).simplify()
        self.normalize = normalize
        self.normalization: Normalization = normalization
        self._plan: HarmonicsPlan = (self.degrees, normalize, normalization)

    def forward(self, x: Tensor) -> Tensor:
        """Return the spherical harmonics (..., irreps_out.dim) of vectors ``x`` (..., 3)."""
        if x.shape[-1:] != (3,):
            raise ValueError(f"x must have a last dimension of 3, got {tuple(x.shape)}")
        return kernels.spherical_harmonics(as_floating(x), self._plan)

    def extra_repr(self) -> str:
        return f"{self.irreps_in} -> {self.irreps_out}, normalize={self.normalize}, {self.normalization}"


def spherical_harmonics(
    l: Degrees,
    x: Tensor,
    normalize: bool,
    normalization: Normalization = "integral",
) -> Tensor:
    """Return the spherical harmonics of ``x`` (..., 3) of degrees or irreps ``l``; see `SphericalHarmonics`.

    >>> import torch
    >>> x = torch.tensor([0.0339, 0.1357, 0.4650])
    >>> spherical_harmonics(2, x, normalize=True, normalization="component").mul(1000).round()
    tensor([ 259.,   76., -856., 1036., 1766.])
    """
    return SphericalHarmonics(l, normalize, normalization)(x)


def _read_degrees(irreps_out: Degrees, irreps_in: IrrepsLike) -> tuple[Irreps, tuple[int, ...]]:
    if isinstance(irreps_out, int):
        irreps_out = [irreps_out]
    if isinstance(irreps_out, str | Irrep):
        irreps_out = Irreps(irreps_out)
    wanted = irreps_out if isinstance(irreps_out, Irreps) else None
    if irreps_in is None:
        irreps_in = "1e" if wanted is not None and any(ir.l % 2 == 1 and ir.p == 1 for _, ir in wanted) else "1o"
    irreps_in = Irreps(irreps_in)
    if irreps_in not in (Irreps("1o"), Irreps("1e")):
        raise ValueError(f"spherical harmonics are functions of one vector, 1x1o or 1x1e; got {irreps_in}")
    if wanted is None:
        return irreps_in, tuple(irreps_out)  # type: ignore[arg-type]  # degrees, since it is not irreps
    parity = irreps_in[0].ir.p
    for _, ir in wanted:
        if ir.p != parity**ir.l:
            raise ValueError(
                f"spherical harmonics of {irreps_in} cannot be {ir}; degree {ir.l} is {Irrep(ir.l, -ir.p)}"
            )
    return irreps_in, tuple(wanted.ls)

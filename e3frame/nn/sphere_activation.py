"""Activations of signals on the sphere and on SO(3): evaluate on a grid, apply a function, and transform back."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from e3frame.algebra.errors import AssertedError
from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.math.moments import normalize2mom
from e3frame.nn.activation import ScalarFunction, activation, symmetry
from e3frame.o3 import FromS2Grid, SO3Grid, ToS2Grid, rand_angles

__all__ = ["S2Activation", "SO3Activation"]

GridNormalization = Literal["component", "norm"]


class S2Activation(nn.Module):
    """A'^j = ∫ φ(Σ_l A^l · Y^l(x)) Y^j(x) dx: a pointwise function of the signal on the sphere that A describes.

    Equivariant up to the error of the grid, which falls with ``res`` as fast as φ of the signal is smooth.

    Args:
        irreps: one irrep of each degree 0 ... lmax, of parity p_val p_arg^l: the signal transforms under inversion as
            f(x) -> p_val f(p_arg x).
        act: φ, a name or a function, here normalised to unit second moment.
        res: number of points of the grid along (beta, alpha), or both from one number.
        normalization: of the features: ``component`` (unit variance of each component) or ``norm`` (unit norm).
        lmax_out: highest degree of the output, lmax unless given.
        random_rot: rotate the grid at random in each call.

    Raises:
        AssertedError: other irreps.
        ValueError: p_val is odd and φ neither odd nor even.

    >>> S2Activation("0e + 1o + 2e", "tanh", 20, lmax_out=3).irreps_out
    1x0e+1x1o+1x2e+1x3o
    """

    def __init__(
        self,
        irreps: IrrepsLike,
        act: str | ScalarFunction,
        res: int | tuple[int, int],
        normalization: GridNormalization = "component",
        lmax_out: int | None = None,
        random_rot: bool = False,
    ) -> None:
        super().__init__()
        self.irreps_in = Irreps(irreps).simplify()
        p_val, p_arg = _signal_parity(self.irreps_in)
        lmax = self.irreps_in.lmax
        lmax_out = lmax if lmax_out is None else lmax_out
        p_out = p_val
        if p_val == -1:
            kind = symmetry(act)
            if kind == "neither":
                raise ValueError(f"a signal with odd values ({self.irreps_in}) needs a function that is odd or even")
            p_out = 1 if kind == "even" else -1
        self.irreps_out = Irreps([(1, (degree, p_out * p_arg**degree)) for degree in range(lmax_out + 1)])
        self.to_s2 = ToS2Grid(lmax, res, normalization=normalization)
        self.from_s2 = FromS2Grid(res, lmax_out, normalization=normalization, lmax_in=lmax)
        self.act = normalize2mom(activation(act))
        self.random_rot = random_rot

    def forward(self, features: Tensor) -> Tensor:
        """(..., irreps_in.dim) -> (..., irreps_out.dim)."""
        if features.shape[-1] != self.irreps_in.dim:
            raise AssertedError(
                f"the last axis must be {self.irreps_in.dim} ({self.irreps_in}), got {features.shape[-1]}"
            )
        if not self.random_rot:
            return self.from_s2(self.act(self.to_s2(features)))
        angles = rand_angles(dtype=features.dtype, device=features.device)
        turned = features @ self.irreps_in.D_from_angles(*angles).mT
        return self.from_s2(self.act(self.to_s2(turned))) @ self.irreps_out.D_from_angles(*angles)

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({self.irreps_in} -> {self.irreps_out})"


def _signal_parity(irreps: Irreps) -> tuple[int, int]:
    """Return p_val and p_arg of the irreps of a signal on the sphere."""
    if not irreps or irreps.ls != list(range(len(irreps))):
        raise AssertedError(
            f"a signal on the sphere has one irrep of each degree 0, 1, ... lmax; got {irreps or 'none'}"
        )
    p_val = irreps[0].ir.p
    for p_arg in (1, -1):
        if all(ir.p == p_val * p_arg**ir.l for _, ir in irreps):
            return p_val, p_arg
    raise AssertedError(
        f"the parities of a signal on the sphere are all equal, or alternate with the degree; got {irreps}"
    )


class SO3Activation(nn.Module):
    """A pointwise function of a signal on SO(3), given by its coefficients of Wigner D matrices.

    Features and results hold (2l + 1)² numbers for each degree, one irrep l for each of 2l + 1 copies.

    Args:
        lmax_in: highest degree of the input.
        lmax_out: highest degree of the output.
        act: φ, a name or a function, here normalised to unit second moment.
        resolution: half the number of points of the grid along beta.
        normalization: of the features; only ``component`` (unit variance of each component).
        aspect_ratio: number of points along alpha, and along gamma, over that along beta.
    """

    def __init__(
        self,
        lmax_in: int,
        lmax_out: int,
        act: str | ScalarFunction,
        resolution: int,
        *,
        normalization: Literal["component"] = "component",
        aspect_ratio: int = 2,
    ) -> None:
        super().__init__()
        self.grid_in = SO3Grid(lmax_in, resolution, normalization=normalization, aspect_ratio=aspect_ratio)
        self.grid_out = SO3Grid(lmax_out, resolution, normalization=normalization, aspect_ratio=aspect_ratio)
        self.act = normalize2mom(activation(act))
        self.lmax_in, self.lmax_out = lmax_in, lmax_out

    def forward(self, features: Tensor) -> Tensor:
        """(..., Σ_l (2l + 1)²) up to lmax_in -> the same up to lmax_out."""
        return self.grid_out.from_grid(self.act(self.grid_in.to_grid(features)))

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({self.lmax_in} -> {self.lmax_out})"

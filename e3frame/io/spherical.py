"""Irreps of signals on the sphere."""

# ruff: noqa: E741 - l is the degree, here as in the literature

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from e3frame.algebra.irreps import Irreps
from e3frame.kernels.constants import as_floating
from e3frame.o3.rotation import angles_to_matrix
from e3frame.o3.s2grid import FromS2Grid, GridNormalization, Resolution, ToS2Grid
from e3frame.o3.spherical_harmonics import spherical_harmonics

if TYPE_CHECKING:
    from numpy.typing import NDArray


class GridSignal(NamedTuple):
    """Points of the unit sphere (res_beta, res_alpha, 3) and values of a signal there (..., res_beta, res_alpha)."""

    grid: Tensor
    values: Tensor


class SphericalTensor(Irreps):
    """Irreps of the coefficients A of a signal ``f(x) = Σ_l A^l · Y^l(x)`` on the unit sphere.

    The harmonics have ``integral`` normalization. Under inversion f becomes ``(P f)(x) = p_val f(p_arg x)``, so degree
    l has the parity ``p_val p_arg^l``.

    Args:
        lmax: highest degree.
        p_val: parity of the values, 1 or -1.
        p_arg: parity of the argument: -1 for a vector, 1 for a pseudovector.

    Raises:
        ValueError: a parity other than 1 and -1.

    >>> SphericalTensor(3, 1, 1), SphericalTensor(3, 1, -1)
    (1x0e+1x1e+1x2e+1x3e, 1x0e+1x1o+1x2e+1x3o)
    """

    p_val: int
    p_arg: int

    def __new__(cls, lmax: int, p_val: int, p_arg: int) -> SphericalTensor:
        tensor = super().__new__(cls, [(1, (l, p_val * p_arg**l)) for l in range(lmax + 1)])
        tensor.p_val, tensor.p_arg = p_val, p_arg
        return tensor

    def __getnewargs__(self) -> tuple[int, int, int]:
        return (self.lmax, self.p_val, self.p_arg)

    # Signals from points ----------------------------------------------------------------------------------------------

    def with_peaks_at(self, vectors: Tensor, values: Tensor | None = None) -> Tensor:
        """Return the signal of smallest norm that has given values in given directions.

        Args:
            vectors: (n, 3), the directions.
            values: (n,), by default the lengths of the vectors.

        Returns:
            (dim,).

        Raises:
            ValueError: ``p_val`` is -1, other shapes, or no signal of this degree has these values.

        >>> s = SphericalTensor(4, 1, -1)
        >>> points = torch.tensor([[1.0, 0.0, 0.0], [3.0, 4.0, 0.0]])
        >>> s.signal_xyz(s.with_peaks_at(points), points)
        tensor([1.0000, 5.0000])
        """
        vectors = as_floating(vectors)
        if values is not None:
            vectors, spread = torch.broadcast_tensors(vectors, as_floating(values)[..., None])
            values = spread[..., 0]
        if vectors.numel() == 0:
            return vectors.new_zeros(*vectors.shape[:-2], self.dim)
        if self.p_val != 1:
            raise ValueError("the values of peaks are lengths, which are even: p_val must be 1, got -1")
        if vectors.dim() != 2 or vectors.shape[1] != 3:
            raise ValueError(f"vectors must have shape (n, 3), got {tuple(vectors.shape)}")
        values = vectors.norm(dim=1) if values is None else values
        vectors, values = vectors[values != 0], values[values != 0]
        Y = spherical_harmonics(range(self.lmax + 1), vectors, normalize=True)
        signal = torch.linalg.pinv(Y @ Y.mT, hermitian=True) @ values @ Y
        if ((Y @ signal - values).abs() > 1e-5 * values.abs().amax()).any():
            raise ValueError(
                f"no signal of degree {self.lmax} has these values: the directions are too many or too close"
            )
        return signal

    def sum_of_diracs(self, positions: Tensor, values: Tensor) -> Tensor:
        """Return ``f = Σ_i v_i δ_i``, where δ_i is an approximate Dirac delta: a peak of height 1 in direction r_i.

        Args:
            positions: (..., n, 3), the directions r_i.
            values: (..., n).

        Returns:
            (..., dim).

        >>> s = SphericalTensor(7, 1, -1)
        >>> x = s.sum_of_diracs(torch.eye(3)[:1], torch.tensor([2.0]))
        >>> s.signal_xyz(x, torch.eye(3)[:1])
        tensor([2.])
        """
        positions, spread = torch.broadcast_tensors(as_floating(positions), as_floating(values)[..., None])
        Y = spherical_harmonics(range(self.lmax + 1), positions, normalize=True)
        return 4 * pi / (self.lmax + 1) ** 2 * (Y * spread[..., :1]).sum(-2)

    def from_samples_on_s2(self, positions: Tensor, values: Tensor, res: Resolution = 100) -> Tensor:
        """Return the signal that has, at each point of a grid, the value of the nearest sample.

        Args:
            positions: (..., n, 3).
            values: (..., n).
            res: resolution of the grid, see `e3frame.o3.ToS2Grid`.

        Returns:
            (..., dim).

        >>> s = SphericalTensor(1, 1, 1)
        >>> s.from_samples_on_s2(torch.eye(3), torch.ones(3)).norm()  # of the constant 1: √4π
        tensor(3.5449)
        """
        positions, spread = torch.broadcast_tensors(as_floating(positions), as_floating(values)[..., None])
        values = spread[..., 0]
        if positions.numel() == 0:
            return values.new_zeros(*values.shape[:-1], self.dim)
        s2 = FromS2Grid(res=res, lmax=self.lmax, normalization="integral", dtype=values.dtype, device=values.device)
        directions = torch.nn.functional.normalize(positions, dim=-1)
        nearest = (directions @ s2.grid.flatten(0, 1).mT).argmax(-2)
        return s2(values.gather(-1, nearest).unflatten(-1, (s2.res_beta, s2.res_alpha)))

    # Values of signals ------------------------------------------------------------------------------------------------

    def norms(self, signal: Tensor) -> Tensor:
        """Return ``|A^l|`` of each degree, (..., lmax + 1), of signals (..., dim).

        >>> SphericalTensor(1, 1, -1).norms(torch.tensor([1.5, 0.0, 3.0, 4.0]))
        tensor([1.5000, 5.0000])
        """
        parts = as_floating(signal).split([mul_ir.dim for mul_ir in self], dim=-1)
        return torch.stack([part.norm(dim=-1) for part in parts], dim=-1)

    def signal_xyz(self, signal: Tensor, r: Tensor) -> Tensor:
        """Return ``f(r / |r|)``, (*A, *B), of signals (*A, dim) at points ``r`` (*B, 3).

        >>> s = SphericalTensor(3, 1, -1)
        >>> s.signal_xyz(s.randn(2, 5, -1), torch.randn(4, 3)).shape
        torch.Size([2, 5, 4])
        """
        signal = as_floating(signal)
        return torch.tensordot(signal, spherical_harmonics(range(self.lmax + 1), r, normalize=True), dims=([-1], [-1]))

    def signal_on_grid(
        self, signal: Tensor, res: Resolution = 100, normalization: GridNormalization = "integral"
    ) -> GridSignal:
        """Return signals (..., dim) on the grid of `e3frame.o3.ToS2Grid`, which also takes ``res``."""
        signal = as_floating(signal)
        s2 = ToS2Grid(self.lmax, res, normalization, dtype=signal.dtype, device=signal.device)
        return GridSignal(s2.grid, s2(signal))

    # Pictures and peaks -----------------------------------------------------------------------------------------------

    def plot(
        self,
        signal: Tensor,
        center: Tensor | None = None,
        res: Resolution = 100,
        radius: bool = True,
        relu: bool = False,
        normalization: GridNormalization = "integral",
    ) -> tuple[Tensor, Tensor]:
        """Return a closed surface that shows the signal, for libraries that plot in three dimensions.

        Args:
            signal: (dim,).
            center: (3,), centre of the surface, by default the origin.
            res, normalization: see `e3frame.o3.ToS2Grid`.
            radius: whether the distance from the centre is |f|; otherwise it is 1.
            relu: whether to show only positive values.

        Returns:
            points (res_beta, res_alpha + 1, 3) and values (res_beta, res_alpha + 1).

        Raises:
            ValueError: another shape of the signal.
        """
        if signal.shape != (self.dim,):
            raise ValueError(f"plot takes one signal of shape ({self.dim},), got {tuple(signal.shape)}")
        r, f = self.signal_on_grid(signal, res, normalization)
        f = f.relu() if relu else f
        # Closing the surface: the first and last circles become the poles, and the first meridian is repeated.
        pole = r.new_tensor([0.0, 1.0, 0.0])
        r = torch.cat([pole.expand_as(r[:1]), r[1:-1], -pole.expand_as(r[:1])])
        f = torch.cat([f[:1].mean().expand_as(f[:1]), f[1:-1], f[-1:].mean().expand_as(f[:1])])
        r, f = torch.cat([r, r[:, :1]], dim=1), torch.cat([f, f[:, :1]], dim=1)
        r = r * f.abs().unsqueeze(-1) if radius else r
        return (r if center is None else r + center), f

    def plotly_surface(
        self,
        signals: Tensor,
        centers: Tensor | None = None,
        res: Resolution = 100,
        radius: bool = True,
        relu: bool = False,
        normalization: GridNormalization = "integral",
    ) -> list[dict[str, NDArray[Any]]]:
        """Return the surface of each signal (..., dim) as arguments of plotly's ``Surface``: x, y, z, surfacecolor.

        Args:
            centers: (..., 3), one for each signal; the other arguments as for `plot`.
        """
        signals = signals.reshape(-1, self.dim)
        places = [None] * len(signals) if centers is None else list(centers.reshape(-1, 3))
        traces = []
        for signal, center in zip(signals, places, strict=True):
            r, f = self.plot(signal.detach(), center, res, radius, relu, normalization)
            x, y, z = r.cpu().numpy().transpose(2, 0, 1)
            traces.append({"x": x, "y": y, "z": z, "surfacecolor": f.cpu().numpy()})
        return traces

    def find_peaks(self, signal: Tensor, res: int = 100) -> tuple[Tensor, Tensor]:
        """Find the local maxima of a signal (dim,): directions (n, 3) and values (n,).

        Searches two grids of resolution ``res``; each is regular at the poles of the other.

        >>> s = SphericalTensor(4, 1, -1)
        >>> x = s.with_peaks_at(torch.tensor([[4.0, 0.0, 4.0], [0.0, 5.0, 0.0]]))
        >>> points, values = s.find_peaks(x)
        >>> points[values > 4.0].mul(10).round().abs(), values[values > 4.0].mul(10).round()
        (tensor([[ 7.,  0.,  7.],
                [ 0., 10.,  0.]]), tensor([57., 50.]))
        """
        signal = as_floating(signal)
        grid, values = self.signal_on_grid(signal, res)
        turn = angles_to_matrix(*signal.new_full((3,), pi / 2))
        turned = self.signal_on_grid(self.D_from_matrix(turn) @ signal, res)
        first, second = _maxima(values), _maxima(turned.values)
        x1, x2 = grid[first], turned.grid[second] @ turn
        lonely = (torch.cdist(x1, x2) >= 2 * pi / res).all(1)
        return torch.cat([x1[lonely], x2]), torch.cat([values[first][lonely], turned.values[second]])


def _maxima(f: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of the inner points of ``f`` (beta, alpha) that exceed their four neighbours.

    The first of two equal neighbours counts, so a peak half-way between two points is found once.
    """
    inner = f[1:-1, 1:-1]
    highest = (inner > f[:-2, 1:-1]) & (inner >= f[2:, 1:-1]) & (inner > f[1:-1, :-2]) & (inner >= f[1:-1, 2:])
    i, j = highest.nonzero(as_tuple=True)
    return i + 1, j + 1

"""Spherical harmonics and signals on the sphere as surfaces in three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from mpl_toolkits.mplot3d.axes3d import Axes3D
from numpy.typing import NDArray

from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.viz.style import INK, MUTED, Picture

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["draw_spherical_harmonics", "draw_spherical_signal"]

_Array = NDArray[np.float64]
_COLORS = "RdBu_r"
_POSITIVE, _NEGATIVE = to_rgb("#d1495b"), to_rgb("#2f7fc1")


def draw_spherical_harmonics(irreps: int | IrrepsLike = 3, resolution: int = 60) -> tuple[Figure, list[Axes3D]]:
    """Draw real spherical harmonics Y^l_m, one row for each degree, with m = -l ... l from left to right.

    The distance from the centre is \\|Y\\|, on a common scale; red is positive, blue is negative.

    Args:
        irreps: highest degree, or irreps such as ``"0e + 2e"``.
        resolution: number of circles of latitude.

    Returns:
        the figure and its axes, in the order of the components.

    Raises:
        ValueError: irreps that are not those of spherical harmonics of one vector.
    """
    chosen = Irreps.spherical_harmonics(irreps) if isinstance(irreps, int) else Irreps(irreps)
    degrees = chosen.ls
    points = _sphere(resolution)
    values = _evaluate(chosen, points, "integral")
    largest = float(np.abs(values).max())
    columns, size = 2 * max(degrees) + 1, 1.25
    width, height = max(columns * size, 3.2) + 0.5, len(degrees) * size + 0.15
    figure = Picture(figsize=(width, height), dpi=150)
    axes, start = [], 0
    for row, l in enumerate(degrees):  # noqa: E741 - the degree
        low = 1 - ((row + 1) * size + 0.05) / height
        figure.text(0.12 / width, low + 0.5 * size / height, f"l = {l}", fontsize=10, color=INK, va="center")
        for m in range(-l, l + 1):
            left = (0.5 * (width + 0.5) + (m - 0.5) * size) / width
            ax = _new_axes(figure, (left, low, size / width, size / height), 1.45)
            Y = values[..., start + l + m, None]
            _draw_surface(ax, points * np.abs(Y) / largest, np.where(Y < 0, _NEGATIVE, _POSITIVE))
            order = f"m = {m}".replace("-", "−")
            figure.text(left + 0.5 * size / width, low, order, fontsize=8, color=MUTED, ha="center")
            axes.append(ax)
        start += 2 * l + 1
    if degrees[0] < max(degrees):
        _draw_compass(figure, 1 - 1.05 / width, 1 - 1.05 / height)
    return figure, axes


def draw_spherical_signal(
    coefficients: Tensor | Sequence[float] | _Array,
    irreps: int | IrrepsLike = None,
    shape: Literal["radius", "sphere"] = "radius",
    normalization: Literal["integral", "component", "norm"] = "integral",
    resolution: int = 120,
    ax: Axes3D | None = None,
) -> tuple[Figure, Axes3D]:
    """Draw the signal f(x) = Σ_l A^l · Y^l(x) on the unit sphere.

    Args:
        coefficients: A, of shape (irreps.dim,).
        irreps: highest degree, or irreps; by default degrees 0, 1, ..., up to the number of coefficients.
        shape: ``radius``: the distance from the centre is \\|f\\|; ``sphere``: only the colour shows f.
        normalization: normalization of the harmonics.
        resolution: number of circles of latitude.
        ax: three-dimensional axes to draw on; by default those of a new figure.

    Returns:
        the figure and its axes.

    Raises:
        ValueError: the number of coefficients is not the dimension of the irreps, or an unknown ``shape``.
    """
    if shape not in ("radius", "sphere"):
        raise ValueError(f"shape must be 'radius' or 'sphere', got {shape!r}")
    A = np.asarray(coefficients.detach().cpu() if hasattr(coefficients, "detach") else coefficients, dtype=np.float64)
    chosen = _signal_irreps(irreps, A)
    points = _sphere(resolution)
    values = _evaluate(chosen.ls, points, normalization) @ A
    largest = float(np.abs(values).max()) or 1.0
    if ax is None:
        figure = Picture(figsize=(4.6, 4.0), dpi=150)
        ax = _new_axes(figure, (0.0, 0.0, 0.86, 1.0), 1.3)
        bar = figure.add_axes((0.86, 0.2, 0.025, 0.6))
        _draw_colorbar(bar, largest)
        _draw_compass(figure, 0.0, 0.0)
    scaled = values / largest
    surface = points * np.abs(scaled)[..., None] if shape == "radius" else points
    _draw_surface(ax, surface, colormaps[_COLORS](0.5 + 0.5 * scaled)[..., :3], 1.0 if shape == "radius" else 0.4)
    owner = ax.get_figure()
    assert isinstance(owner, Figure)
    return owner, ax


def _signal_irreps(irreps: int | IrrepsLike, coefficients: _Array) -> Irreps:
    if coefficients.ndim != 1:
        raise ValueError(f"the coefficients of a signal must be a vector, got shape {coefficients.shape}")
    if irreps is None:
        irreps = round(len(coefficients) ** 0.5) - 1
    chosen = Irreps.spherical_harmonics(irreps) if isinstance(irreps, int) else Irreps(irreps)
    if chosen.dim != len(coefficients) or chosen.dim == 0:
        raise ValueError(f"{chosen or 'no irreps'} have {chosen.dim} components, got {len(coefficients)} coefficients")
    return chosen


def _sphere(resolution: int) -> _Array:
    """Return points (resolution, 2 resolution, 3) of the unit sphere, with polar axis y."""
    beta = np.linspace(0.0, np.pi, resolution)[:, None]
    alpha = np.linspace(0.0, 2.0 * np.pi, 2 * resolution)[None, :]
    x, y, z = np.sin(beta) * np.sin(alpha), np.cos(beta) + 0.0 * alpha, np.sin(beta) * np.cos(alpha)
    return np.stack([x, y, z], axis=-1)


def _evaluate(degrees: Irreps | list[int], points: _Array, normalization: Any) -> _Array:
    import torch

    from e3frame.o3 import spherical_harmonics

    return spherical_harmonics(degrees, torch.from_numpy(points), False, normalization).numpy()


def _new_axes(figure: Figure, where: tuple[float, float, float, float], zoom: float) -> Axes3D:
    ax = figure.add_axes(where, projection="3d", computed_zorder=False)
    assert isinstance(ax, Axes3D)
    ax.patch.set_visible(False)
    ax.set_proj_type("ortho")
    ax.view_init(elev=24, azim=36)
    ax.set_box_aspect((1, 1, 1), zoom=zoom)
    return ax


def _draw_surface(ax: Axes3D, surface: _Array, colors: _Array, relief: float = 1.0) -> None:
    """Draw a surface (n, k, 3) in the colours (n, k, 3) of its points, lit from above with contrast ``relief``."""
    surface = surface[..., [2, 0, 1]]  # axes of the drawing: z towards the viewer, x to the right, y up
    corners = (surface[:-1, :-1], surface[1:, :-1], surface[:-1, 1:], surface[1:, 1:])
    normal = np.cross(corners[3] - corners[0], corners[2] - corners[1])
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)
    light = np.array([0.55, -0.25, 0.8]) / np.linalg.norm([0.55, -0.25, 0.8])
    brightness = 1.0 + relief * (0.42 * (normal @ light)[..., None] - 0.38)
    faces = 0.25 * (colors[:-1, :-1] + colors[1:, :-1] + colors[:-1, 1:] + colors[1:, 1:])
    faces = np.clip(np.where(brightness < 1, faces * brightness, 1 - (1 - faces) * (2 - brightness)), 0, 1)
    quads = np.stack([corners[i] for i in (0, 1, 3, 2)], axis=-2).reshape(-1, 4, 3)
    faces = faces.reshape(-1, 3)
    # Edges in the colour of their face hide the seams of antialiasing.
    collection = Poly3DCollection(quads, facecolors=faces, edgecolors=faces, linewidths=0.3, zorder=1)
    collection.set_rasterized(True)  # thousands of faces would make a vector file slow
    ax.add_collection3d(collection)
    ax.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1))
    ax.set_axis_off()


def _draw_compass(figure: Figure, left: float, low: float) -> None:
    """Draw the directions of x, y and z, one inch wide; ``left`` and ``low`` are fractions of the figure."""
    width, height = figure.get_size_inches()
    ax = _new_axes(figure, (left, low, 1 / width, 1 / height), 1.2)
    for name, direction in (("z", (1, 0, 0)), ("x", (0, 1, 0)), ("y", (0, 0, 1))):
        ax.plot(*np.outer([0.0, 1.0], direction).T, color=MUTED, lw=1.2)
        ax.text(*np.multiply(1.3, direction), name, color=INK, fontsize=8, ha="center", va="center")
    ax.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1))
    ax.set_axis_off()


def _draw_colorbar(ax: Any, largest: float) -> None:
    levels = np.linspace(-largest, largest, 256)[:, None]
    ax.imshow(levels, aspect="auto", origin="lower", cmap=_COLORS, extent=(0, 1, -largest, largest))
    ax.set_xticks([])
    ax.yaxis.tick_right()
    ax.tick_params(colors=INK, labelsize=8)
    for spine in ax.spines.values():
        spine.set_visible(False)

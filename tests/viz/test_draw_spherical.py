"""Drawings of spherical harmonics and of signals on the sphere."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from e3frame import o3
from e3frame.viz.spherical import draw_spherical_harmonics, draw_spherical_signal
from e3frame.viz.style import new_figure


def surface(ax) -> np.ndarray:
    """Corners of the faces as (x, y, z)."""
    (collection,) = (artist for artist in ax.collections if isinstance(artist, Poly3DCollection))
    return np.asarray(collection._faces)[..., [1, 2, 0]]


def test_one_surface_for_each_harmonic():
    figure, axes = draw_spherical_harmonics(2, resolution=12)
    assert len(axes) == 9
    texts = [text.get_text() for text in figure.texts]
    assert texts.count("m = 0") == 3
    assert {"l = 0", "l = 1", "l = 2"} < set(texts)
    figure.savefig(io.BytesIO(), format="png")
    assert len(draw_spherical_harmonics("0e + 2e", resolution=8)[1]) == 6
    assert len(draw_spherical_harmonics("1e", resolution=8)[1]) == 3


def test_notebooks_show_the_figures():
    figures = [
        draw_spherical_harmonics(1, resolution=6)[0],
        new_figure(1)[0],
        o3.FullTensorProduct("1o", "1o").visualize()[0],
    ]
    assert all(figure._repr_png_().startswith(b"\x89PNG") for figure in figures)


def test_harmonics_of_degree_one_lie_along_x_y_z():
    for axis, ax in enumerate(draw_spherical_harmonics("1o", resolution=21)[1]):
        extent = np.ptp(surface(ax).reshape(-1, 3), axis=0)
        assert extent.argmax() == axis
        assert extent[axis] == pytest.approx(2.0, rel=0.01)


def test_the_surface_is_that_of_the_signal():
    peak = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    A = o3.spherical_harmonics([0, 1, 2, 3, 4], peak, True)
    _, ax = draw_spherical_signal(A, resolution=41)
    points = surface(ax).reshape(-1, 3)
    farthest = points[np.linalg.norm(points, axis=1).argmax()]
    np.testing.assert_allclose(farthest, peak, atol=0.05)
    _, ax = draw_spherical_signal(A.numpy(), 4, shape="sphere", resolution=41)
    np.testing.assert_allclose(np.linalg.norm(surface(ax), axis=-1), 1.0)


def test_signals_on_given_axes():
    figure = Figure()
    ax = figure.add_subplot(projection="3d")
    assert draw_spherical_signal([1.0, 0.5, 0.0, 0.0], ax=ax, normalization="component", resolution=8) == (figure, ax)
    assert len(figure.axes) == 1
    own, _ = draw_spherical_signal([0.0], resolution=8)
    own.savefig(io.BytesIO(), format="png")


def test_wrong_signals():
    with pytest.raises(ValueError, match=r"^1x0e\+1x1o have 4 components, got 5 coefficients$"):
        draw_spherical_signal(torch.zeros(5), "0e + 1o")
    with pytest.raises(ValueError, match=r"^1x0e\+1x1o have 4 components, got 5 coefficients$"):
        draw_spherical_signal(torch.zeros(5))
    with pytest.raises(ValueError, match=r"vector, got shape \(2, 4\)$"):
        draw_spherical_signal(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"^shape must be 'radius' or 'sphere', got 'ball'$"):
        draw_spherical_signal(torch.zeros(4), shape="ball")
    with pytest.raises(ValueError, match=r"^spherical harmonics of 1x1o cannot be 2o; degree 2 is 2e$"):
        draw_spherical_harmonics("1o + 2o")

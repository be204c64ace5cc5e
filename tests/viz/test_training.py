"""Figures of runs: parity plots, and errors over the size of the training set."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from e3frame.viz.style import PALETTE, density, new_figure
from e3frame.viz.training import Compared, errors_by_size, parity_by_species


@pytest.mark.parametrize("color", PALETTE)
def test_a_single_point_is_seen_on_white(color: str) -> None:
    shades = density(color)
    pale, middle, dark = (np.dot(shades(x)[:3], (0.2126, 0.7152, 0.0722)) for x in (0.0, 0.5, 1.0))
    assert 0.85 > pale > middle > dark
    np.testing.assert_allclose(shades(128)[:3], to_rgb(color), atol=0.02)


def test_each_species_has_its_points_and_errors() -> None:
    labels = np.array([1.0, 2.0, 3.0, 4.0])
    errors = np.array([0.001, 0.003, -0.02, 0.02])
    groups = {"H": np.array([True, True, False, False]), "O": np.array([False, False, True, True])}
    first, second = parity_by_species(Compared(labels, labels + errors, "eV/Å", "of all", groups)).axes
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["H", "O"]
    assert [text.get_text() for text in first.texts] == ["MAE 2.00 meV/Å\nRMSE 2.24 meV/Å"]
    assert [text.get_text() for text in second.texts] == ["MAE 20.0 meV/Å\nRMSE 20.0 meV/Å"]
    np.testing.assert_allclose(second.lines[0].get_xydata(), np.stack([labels, labels + errors], 1)[2:])


def test_panels_stand_in_rows() -> None:
    figure, axes = new_figure(6, width=2.0, height=3.0, columns=4)
    assert len(axes) == 6
    assert tuple(figure.get_size_inches()) == (8.0, 6.0)
    assert tuple(new_figure(2, width=2.0, height=3.0, columns=4)[0].get_size_inches()) == (4.0, 3.0)


def test_errors_by_size_joins_means_and_fits_a_power() -> None:
    power = [(n, 3.0 * n**-0.5) for n in (100, 400, 1600)]
    seeds = [(200, 4.0), (100, 1.0), (100, 3.0)]
    figure = errors_by_size({"a (meV)": power, "b": seeds, "alone": [(7, 1.0)]})
    first, second, alone = figure.axes
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["a (meV)", "b", "alone"]
    assert "error ∝ N$^{-0.50}$" in [text.get_text() for text in first.texts]
    assert [text.get_text() for text in alone.texts] == ["1.00"]
    line, points = second.lines
    np.testing.assert_array_equal(line.get_xydata(), [[100, 2], [200, 4]])
    np.testing.assert_array_equal(points.get_xydata(), seeds)
    assert not any("N$" in text.get_text() for text in alone.texts)

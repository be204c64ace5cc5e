"""What is drawn of errors by the size of the training set."""

from __future__ import annotations

import numpy as np

from e3frame.viz.training import errors_by_size


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

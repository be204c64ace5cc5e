"""Figures of a search show every trial, whatever kind of values its parameters have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.patches import PathPatch

from e3frame.sweep.report import _image
from e3frame.viz.search import error_against_cost, history, importance, parallel_coordinates
from e3frame.viz.training import save

POINTS = [
    {
        "lr": 10.0 ** -(1 + k % 3),
        "irreps": "8x0e",
        "deep": bool(k % 2),
        "times": k % 4,
        "none": None,
        "mixed": [1, "a"][k % 2],
    }
    for k in range(9)
]
VALUES = [3.0 + (k * 7) % 9 for k in range(9)]


def test_history_follows_the_best_so_far(tmp_path: Path) -> None:
    figure = history(range(9), {"error": VALUES, "cost": [1.0] * 9}, pruned=[9, 10])
    error, cost = figure.axes
    (points, best, pruned) = error.lines
    np.testing.assert_array_equal(points.get_ydata(), VALUES)
    np.testing.assert_array_equal(best.get_ydata(), np.minimum.accumulate(VALUES))
    np.testing.assert_array_equal(pruned.get_xdata(), [9, 10])
    assert cost.get_title(loc="left") == "cost"
    assert imread(save(figure, tmp_path / "history.png")).std() > 0


@pytest.mark.parametrize("values", [VALUES, [2.0] * 9, [10.0**k for k in range(9)], VALUES[:2]], ids=len)
def test_parallel_coordinates_have_a_line_for_each_trial(values: list[float], tmp_path: Path) -> None:
    figure = parallel_coordinates(POINTS[: len(values)], values, "error")
    lines = [patch for patch in figure.axes[0].patches if isinstance(patch, PathPatch)]
    assert len(lines) == len(values)
    heights = np.array([line.get_path().vertices[:, 1] for line in lines])
    assert np.isfinite(heights).all()
    assert (heights >= -1e-12).all()
    assert (heights <= 1 + 1e-12).all()
    assert max(lines, key=lambda line: line.get_linewidth()) is lines[-1]  # the best one is on top
    assert imread(save(figure, tmp_path / "parallel.png")).std() > 0


def test_importance_is_ordered(tmp_path: Path) -> None:
    figure = importance({"error": {"lr": 0.2, "mul": 0.8}, "cost": {"lr": 0.0, "mul": 1.0}}, 9)
    assert [bar.get_width() for bar in figure.axes[0].patches] == [0.2, 0.8]
    assert figure.axes[1].get_title(loc="left") == "importance for cost (9 trials)"
    assert imread(save(figure, tmp_path / "importance.png")).std() > 0


def test_error_against_cost_joins_the_front(tmp_path: Path) -> None:
    figure = error_against_cost([1.0, 2.0, 9.0], [900.0, 3.0, 4.0], [5, 6, 7], [0, 1], ("ms", "error"))
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.texts] == ["5", "6"]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert imread(save(figure, tmp_path / "front.png")).std() > 0


def test_a_page_shows_figures_at_their_size(tmp_path: Path) -> None:
    figure = error_against_cost([1.0, 2.0], [3.0, 2.0], [0, 1], [0, 1], ("ms", "error"))
    shown = _image(save(figure, tmp_path / "front.png"))
    assert shown.startswith(
        f'<img alt="front" width="{96 * figure.get_size_inches()[0]:.0f}" src="data:image/png;base64,'
    )

"""Figures of a search over hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Curve
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from e3frame.viz.style import BLUE, INK, MUTED, ORANGE, new_figure

_COLORS = "viridis"
"""Colormap whose dark end, which stands out on white, shows small and good values."""
_DECADE = 5.0
"""Ratio of the largest to the smallest value above which an axis is logarithmic."""


def history(numbers: Sequence[int], values: Mapping[str, Sequence[float]], pruned: Sequence[int]) -> Figure:
    """Draw each objective by trial, with the best value so far. Pruned trials are ticks at the bottom.

    Args:
        numbers: numbers of the complete trials.
        values: values of each objective, in the order of ``numbers``.
        pruned: numbers of the pruned trials.
    """
    figure, axes = new_figure(len(values), width=4.6)
    for ax, (name, found) in zip(axes, values.items(), strict=True):
        ax.plot(numbers, found, "o", color=BLUE, ms=4.5, alpha=0.75, mew=0, label="trial")
        ax.step(numbers, np.minimum.accumulate(found), where="post", color=ORANGE, lw=1.5, label="best so far")
        if len(pruned):
            foot = ax.get_xaxis_transform()
            ax.plot(pruned, np.full(len(pruned), 0.02), "|", color=MUTED, ms=8, transform=foot, label="pruned")
        _scale(ax, found, "y")
        ax.set_title(name, fontsize=10, loc="left")
        ax.set_xlabel("trial", color=INK, fontsize=9)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        ax.grid(True, which="major", color="#e4e7eb", lw=0.7)
    axes[0].legend(frameon=False, fontsize=8.5)
    return figure


def importance(parts: Mapping[str, Mapping[str, float]], trials: int) -> Figure:
    """Draw the importance of each parameter for each objective.

    Args:
        parts: {objective: {parameter: importance between 0 and 1}}.
        trials: number of trials from which the importance was estimated.
    """
    rows = max(len(of) for of in parts.values())
    figure, axes = new_figure(len(parts), width=4.6, height=1.0 + 0.32 * rows)
    for ax, (name, of) in zip(axes, parts.items(), strict=True):
        ordered = sorted(of.items(), key=lambda item: item[1])
        bars = ax.barh([key for key, _ in ordered], [value for _, value in ordered], color=BLUE, height=0.62)
        ax.bar_label(bars, fmt=lambda value: f"{value:.2f}", padding=3, fontsize=8, color=INK)
        ax.set_xlim(0, 1.15 * max([*of.values(), 1e-9]))
        ax.set_xticks([])
        ax.spines["bottom"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        ax.set_title(f"importance for {name} ({trials} trials)", fontsize=10, loc="left")
    return figure


def parallel_coordinates(points: Sequence[Mapping[str, Any]], values: Sequence[float], objective: str) -> Figure:
    """Draw a line for each complete trial through its parameters to its objective; the best are on top.

    Args:
        points: {parameter: value} of each trial.
        values: objective of each trial, which colours its line.
        objective: name of the objective.
    """
    names = list({name: None for point in points for name in point})
    figure, (ax,) = new_figure(1, width=0.6 + 1.25 * (len(names) + 1), height=3.8)
    columns = [_Column([point.get(name) for point in points]) for name in names] + [_Column(list(values))]
    norm = (LogNorm if columns[-1].log else Normalize)(min(values), max(values) if max(values) > min(values) else None)
    colors = ScalarMappable(norm, _COLORS)
    for row in np.argsort(values)[::-1]:
        heights = [column.heights[row] for column in columns]
        best = row == int(np.argmin(values))
        ax.add_patch(_smooth(heights, "none", edgecolor=colors.to_rgba(values[row]), lw=2.6 if best else 1.2, zorder=2))
    for place, (name, column) in enumerate(zip([*names, objective], columns, strict=True)):
        ax.plot([place, place], [0, 1], color=INK, lw=0.8, zorder=1)
        for height, text in column.ticks:
            box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8}
            ax.text(place + 0.04, height, text, fontsize=8.5, va="center", color=INK, bbox=box, zorder=3)
        ax.text(place, 1.05, name, fontsize=9, ha="center", va="bottom", color=INK)
    ax.set(xlim=(-0.3, len(columns) - 0.5), ylim=(-0.05, 1.12))
    ax.set_axis_off()
    return figure


def error_against_cost(
    costs: Sequence[float], errors: Sequence[float], numbers: Sequence[int], front: Sequence[int], names: Sequence[str]
) -> Figure:
    """Draw complete trials by cost and error, and join those of the Pareto front.

    Args:
        costs, errors: cost and error of each trial.
        numbers: numbers of the trials, to label those of the front.
        front: indices of the trials of the Pareto front.
        names: names of the cost and the error.
    """
    figure, (ax,) = new_figure(1, width=5.4, height=4.0)
    ax.plot(costs, errors, "o", color=MUTED, ms=5, alpha=0.7, mew=0)
    ordered = sorted(front, key=lambda index: costs[index])
    x, y = [costs[index] for index in ordered], [errors[index] for index in ordered]
    ax.step(x, y, where="post", color=ORANGE, lw=1.3, zorder=3)
    ax.plot(x, y, "o", color=ORANGE, ms=6, mew=0, zorder=4, label="Pareto front")
    for index in ordered:
        ax.annotate(str(numbers[index]), (costs[index], errors[index]), (5, 4), textcoords="offset points", fontsize=8)
    _scale(ax, costs, "x")
    _scale(ax, errors, "y")
    ax.set_xlabel(names[0], color=INK, fontsize=9)
    ax.set_title(names[1], fontsize=10, loc="left")
    ax.grid(True, which="major", color="#e4e7eb", lw=0.7)
    ax.legend(frameon=False, fontsize=8.5)
    return figure


class _Column:
    """One axis of the parallel coordinates: numbers by size, other values in order of appearance."""

    def __init__(self, values: Sequence[Any]) -> None:
        plain = [value for value in values if value is not None]
        numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in plain)
        self.log = numeric and len(set(plain)) > 4 and min(plain) > 0 and max(plain) / min(plain) > _DECADE
        if numeric and len(set(plain)) > 4:
            scaled = np.log(values) if self.log else np.array(values, dtype=float)
            low, high = float(scaled.min()), float(scaled.max())
            self.heights = list((scaled - low) / (high - low))
            marks = np.linspace(low, high, 5)
            self.ticks = [((m - low) / (high - low), f"{np.exp(m) if self.log else m:.3g}") for m in marks]
            return
        kinds = sorted(set(plain)) if numeric else list(dict.fromkeys(map(_text, values)))
        shown = list(values) if numeric and len(plain) == len(values) else list(map(_text, values))
        kinds = kinds if shown == list(values) else list(dict.fromkeys([*map(_text, kinds), *shown]))
        place = {kind: index / max(len(kinds) - 1, 1) if len(kinds) > 1 else 0.5 for index, kind in enumerate(kinds)}
        self.heights = [place[value] for value in shown]
        self.ticks = [(height, _text(kind)) for kind, height in place.items()]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _smooth(heights: Sequence[float], facecolor: str, **style: Any) -> PathPatch:
    """Return a curve through the heights at 0, 1, 2, ..., horizontal where it crosses an axis."""
    vertices, codes = [(0.0, heights[0])], [Curve.MOVETO]
    for place, (start, end) in enumerate(pairwise(heights)):
        vertices += [(place + 0.4, start), (place + 0.6, end), (place + 1.0, end)]
        codes += [Curve.CURVE4] * 3
    return PathPatch(Curve(vertices, codes), facecolor=facecolor, **style)


def _scale(ax: Axes, values: Sequence[float], axis: Literal["x", "y"]) -> None:
    """Use a logarithmic axis if the values span more than a factor of five, always with plain numbers."""
    low, high = min(values), max(values)
    if low > 0 and high / low > _DECADE:
        (ax.set_xscale if axis == "x" else ax.set_yscale)("log", subs=[2, 5] if axis else None)
        which = ax.xaxis if axis == "x" else ax.yaxis
        which.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        which.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}") if high / low < 100 else NullFormatter())
        ax.tick_params(axis=axis, which="minor", labelsize=8, colors=INK)

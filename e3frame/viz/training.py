"""Learning curves and parity plots of a run."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from e3frame.viz.style import BLUE, DENSITY, INK, MUTED, ORANGE, new_figure

_MANY = 3000
"""Points from which on their density is drawn in place of each."""


def learning_curve(metrics: Path) -> Figure:
    """The loss and each target's MAE by epoch, training and validation, from a run's ``metrics.csv``."""
    with metrics.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [key.removeprefix("train_") for key in rows[0] if key.startswith("train_") and "_rmse" not in key]
    epochs = np.array([int(row["epoch"]) for row in rows])
    figure, axes = new_figure(len(names))
    for ax, name in zip(axes, names, strict=True):
        for split, color, label in (("train", MUTED, "training"), ("val", BLUE, "validation")):
            values = np.array([float(row[f"{split}_{name}"] or "nan") for row in rows])
            there = np.isfinite(values) & (values > 0)
            if there.any():
                marker = "o" if there.sum() == 1 else None
                ax.plot(epochs[there], values[there], color=color, label=label, lw=1.6, marker=marker)
        quantity, _, unit = name.partition(" ")
        title = "loss" if quantity == "loss" else f"{quantity.removesuffix('_mae')} MAE {unit}"
        ax.set_title(title, fontsize=10, loc="left")
        _log_scale(ax)
        ax.set_xlabel("epoch", color=INK, fontsize=9)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        ax.grid(True, which="major", color="#e4e7eb", lw=0.7)
    axes[0].legend(frameon=False, fontsize=9)
    return figure


def _log_scale(ax: Axes) -> None:
    """A logarithmic axis with plain numbers on it, also where it spans less than a decade."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    steps = (1.0,) if high / low > 1e3 else (1.0, 2.0, 5.0) if high / low > 4 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    ax.yaxis.set_major_locator(LogLocator(subs=steps, numticks=12))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


@dataclass(frozen=True)
class Compared:
    """What a parity plot shows.

    Attributes:
        labels, predictions: (entries,), in ``unit``.
        unit: such as "eV/Å".
        errors: a line or two of text that sum the errors up.
    """

    labels: NDArray[np.float64]
    predictions: NDArray[np.float64]
    unit: str
    errors: str


def parity(compared: Compared, quantity: str) -> Figure:
    """Predictions against labels, and how their differences are distributed.

    Args:
        compared: the numbers.
        quantity: what they are, for the title.
    """
    x, y, unit = compared.labels, compared.predictions, compared.unit
    figure, (left, right) = new_figure(2, width=4.0, height=3.8)
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    margin = 0.04 * (high - low) or 1.0
    bounds = (low - margin, high + margin)
    if len(x) >= _MANY:
        left.hexbin(x, y, gridsize=110, bins="log", mincnt=1, cmap=DENSITY, extent=(*bounds, *bounds), linewidths=0.1)
    else:
        left.plot(x, y, "o", color=BLUE, ms=3.0, alpha=0.5, mew=0)
    left.plot(bounds, bounds, color=ORANGE, lw=0.9, zorder=3)
    left.set(xlim=bounds, ylim=bounds)
    left.set_box_aspect(1)
    left.xaxis.set_major_locator(MaxNLocator(5))
    left.yaxis.set_major_locator(MaxNLocator(5))
    suffix = f" ({unit})" if unit else ""
    left.set_xlabel(f"label{suffix}", color=INK, fontsize=9)
    left.set_ylabel(f"prediction{suffix}", color=INK, fontsize=9)
    left.set_title(quantity, fontsize=10, loc="left")
    left.text(0.04, 0.96, compared.errors, transform=left.transAxes, va="top", fontsize=8.5, color=INK)
    _histogram(right, y - x, unit)
    return figure


def _histogram(ax: Axes, differences: NDArray[np.float64], unit: str) -> None:
    factor, unit = (1000.0, f"m{unit}") if unit.startswith("eV") else (1.0, unit)
    values = factor * differences
    reach = float(np.quantile(np.abs(values), 0.998)) or 1.0
    bins = 61 if len(values) >= _MANY else 31
    ax.hist(np.clip(values, -reach, reach), bins, range=(-reach, reach), color=BLUE, alpha=0.85, ec="white", lw=0.3)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.axvline(0.0, color=ORANGE, lw=0.9)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_box_aspect(1)
    ax.set_xlabel("prediction - label" + (f" ({unit})" if unit else ""), color=INK, fontsize=9)
    ax.set_title("distribution of the differences", fontsize=10, loc="left")


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG."""
    figure.savefig(path, dpi=150, metadata={"Software": None})
    return path

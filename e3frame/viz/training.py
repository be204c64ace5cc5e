"""Learning curves, parity plots, and errors over the size of the training set."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from e3frame.files.written import write_file
from e3frame.spec.words import in_unit, rounded
from e3frame.viz.style import BLUE, INK, MUTED, ORANGE, PALETTE, density, new_figure, rendered

_MANY = 3000
"""Number of points above which their density is drawn instead."""


def learning_curve(metrics: Path, width: float | None = None) -> Figure:
    """Draw the loss and the MAE of each target by epoch, for training and validation.

    Args:
        metrics: ``metrics.csv`` of a run.
        width: width of three panels or, if there are more, of all panels, in inches; by default 3.3 for each panel.
    """
    with metrics.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [key.removeprefix("train_") for key in rows[0] if key.startswith("train_") and "_rmse" not in key]
    epochs = np.array([int(row["epoch"]) for row in rows])
    panels = max(len(names), 3)
    figure, axes = new_figure(len(names), 3.3 if width is None else width / panels, 2.8 if width is None else 2.5)
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
        log_scale(ax)
        ax.set_xlabel("epoch", color=INK, fontsize=9)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        ax.grid(True, which="major", color="#e4e7eb", lw=0.7)
    axes[0].legend(frameon=False, fontsize=9)
    return figure


def errors_by_size(curves: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Draw the errors of runs over the size of their training sets, with the exponent of a fitted power law.

    Args:
        curves: {title of a panel: (training frames, error) of each run}. A line joins the means of runs of equal size.
    """
    figure, axes = new_figure(len(curves), width=3.4, height=3.0)
    for ax, (title, points) in zip(axes, curves.items(), strict=True):
        sizes, errors = np.array(points, dtype=np.float64).T
        distinct = sorted(set(sizes.tolist()))
        means = [errors[sizes == size].mean() for size in distinct]
        ax.plot(distinct, means, color=BLUE, lw=1.6)
        ax.plot(sizes, errors, "o", color=BLUE, ms=5, mew=0)
        for size, mean in zip(distinct, means, strict=True):
            ax.annotate(rounded(float(mean)), (size, mean), (6, 5), textcoords="offset points", fontsize=8.5, color=INK)
        if len(distinct) > 1:
            slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
            text = f"error ∝ N$^{{{slope:.2f}}}$"
            ax.text(0.06, 0.08, text, transform=ax.transAxes, fontsize=10, color=INK)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator(distinct))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        ax.margins(0.24, 0.14)
        log_scale(ax)
        ax.set_xlabel("training frames", color=INK, fontsize=9)
        ax.set_title(title, fontsize=10, loc="left")
        ax.grid(True, which="major", color="#e4e7eb", lw=0.7)
    return figure


def log_scale(ax: Axes) -> None:
    """Make the y axis logarithmic, with plain numbers, even if it spans less than a decade."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    steps = (1.0,) if high / low > 1e3 else (1.0, 2.0, 5.0) if high / low > 4 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    ax.yaxis.set_major_locator(LogLocator(subs=steps, numticks=12))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


@dataclass(frozen=True)
class Compared:
    """Data of a parity plot.

    Attributes:
        labels, predictions: (entries,), in ``unit``.
        unit: such as "eV/Å".
        errors: text with the errors, in one or two lines.
        groups: mask of the entries of each species, for values per atom.
        less: name of a reference that was subtracted from both.
    """

    labels: NDArray[np.float64]
    predictions: NDArray[np.float64]
    unit: str
    errors: str
    groups: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    less: str = ""


def parity(compared: Compared, quantity: str) -> Figure:
    """Draw predictions over labels, and the distribution of their differences.

    Args:
        compared: labels and predictions.
        quantity: title.
    """
    figure, (left, right) = new_figure(2, width=4.0, height=3.8)
    _draw_parity(left, compared)
    left.set_title(quantity, fontsize=10, loc="left")
    _draw_histogram(right, compared)
    return figure


def overview(compared: Compared, by_frame: NDArray[np.float64], by_frame_unit: str) -> Figure:
    """Draw parity, the distribution of differences (by species for values per atom), and the error of each frame.

    Args:
        compared: labels and predictions.
        by_frame: (frames,), error of each frame; NaN without a label.
        by_frame_unit: unit of ``by_frame``.
    """
    figure, (left, middle, right) = new_figure(3, width=2.9, height=2.9)
    _draw_parity(left, compared)
    _draw_histogram(middle, compared)
    frames = np.flatnonzero(~np.isnan(by_frame))
    right.plot(frames, by_frame[frames], "o", color=BLUE, ms=2.6, alpha=0.6, mew=0)
    right.set_ylim(bottom=0)
    right.set_box_aspect(1)
    right.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    right.set_xlabel("frame of the split", color=INK, fontsize=9)
    right.set_title(in_unit("error of each frame", by_frame_unit), fontsize=10, loc="left")
    return figure


def parity_by_species(compared: Compared) -> Figure:
    """Draw a parity plot with errors for each species, up to the number of colours of `PALETTE`."""
    figure, axes = new_figure(min(len(compared.groups), len(PALETTE)), width=2.17, height=2.4, columns=4)
    for ax, (name, where), color in zip(axes, compared.groups.items(), PALETTE, strict=False):
        own = replace(compared, labels=compared.labels[where], predictions=compared.predictions[where])
        each, unit = _differences(own)
        text = summed_up(np.abs(each).mean(), np.sqrt(np.square(each).mean()), unit)
        _draw_parity(ax, replace(own, errors=text), color, bins=50)
        ax.set_title(name, fontsize=10, loc="left")
    return figure


def summed_up(mae: float, rmse: float, unit: str) -> str:
    """Return the text of a parity plot that states the errors."""
    return f"MAE {rounded(mae)} {unit}\nRMSE {rounded(rmse)} {unit}"


def _differences(compared: Compared) -> tuple[NDArray[np.float64], str]:
    """Return predictions minus labels, and their unit (meV for eV)."""
    factor, unit = (1000.0, f"m{compared.unit}") if compared.unit.startswith("eV") else (1.0, compared.unit)
    return factor * (compared.predictions - compared.labels), unit


def _draw_parity(ax: Axes, compared: Compared, color: str = BLUE, bins: int = 80) -> None:
    x, y = compared.labels, compared.predictions
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    margin = 0.04 * (high - low) or 1.0
    bounds = (low - margin, high + margin)
    if len(x) >= _MANY:
        within, shades = (*bounds, *bounds), density(color)
        ax.hexbin(x, y, gridsize=bins, bins="log", mincnt=1, cmap=shades, extent=within, linewidths=0.1)
    else:
        ax.plot(x, y, "o", color=color, ms=3.0, alpha=0.5, mew=0)
    ax.plot(bounds, bounds, color=MUTED, lw=0.9, zorder=3)
    ax.set(xlim=bounds, ylim=bounds)
    ax.set_box_aspect(1)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    less = f" − {compared.less}" if compared.less else ""
    ax.set_xlabel(in_unit(f"label{less}", compared.unit), color=INK, fontsize=9)
    ax.set_ylabel(in_unit(f"prediction{less}", compared.unit), color=INK, fontsize=9)
    ax.text(0.04, 0.96, compared.errors, transform=ax.transAxes, va="top", fontsize=8.5, color=INK)


def _draw_histogram(ax: Axes, compared: Compared) -> None:
    values, unit = _differences(compared)
    reach = float(np.quantile(np.abs(values), 0.998)) or 1.0
    bins = 61 if len(values) >= _MANY else 31
    if len(compared.groups) < 2:
        ax.hist(np.clip(values, -reach, reach), bins, range=(-reach, reach), color=BLUE, alpha=0.85, ec="white", lw=0.3)
    for (name, where), color in zip(compared.groups.items(), PALETTE, strict=False):
        if len(compared.groups) > 1:
            own = np.clip(values[where], -reach, reach)
            ax.hist(own, bins, range=(-reach, reach), density=True, histtype="step", color=color, lw=1.3, label=name)
    if len(compared.groups) > 1:
        ax.legend(frameon=False, fontsize=8.5, handlelength=1.2, labelspacing=0.3)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.axvline(0.0, color=ORANGE, lw=0.9)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_box_aspect(1)
    ax.set_xlabel(in_unit("prediction − label", unit), color=INK, fontsize=9)
    ax.set_title("distribution of the differences", fontsize=10, loc="left")


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, atomically, and return the path."""
    return write_file(path, rendered(figure))

"""What more training frames are worth: errors of runs by the size of their training sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from e3frame.spec.words import rounded
from e3frame.viz.style import BLUE, INK, new_figure
from e3frame.viz.training import log_scale


def errors_by_size(curves: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """The errors of runs against their numbers of training frames, on logarithmic axes, with the exponent of the power
    law nearest to them.

    Args:
        curves: the title of each panel, and what is in it: training frames and error of each run. A line joins the
            means of runs with the same number.
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

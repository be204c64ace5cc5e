"""One look for all figures."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1f2933"
MUTED = "#8a94a0"
BLUE = "#2166ac"
ORANGE = "#d6604d"
DENSITY = "Blues"
PALETTE = (BLUE, ORANGE, "#4d9221", "#7b3294", "#b8860b", "#35978f", "#8c510a", "#5e6a75")
"""Of several groups in one panel; what comes after the eighth is not drawn."""


def new_figure(columns: int, width: float = 4.2, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """A figure of one row of panels."""
    figure = Figure(figsize=(width * columns, height), dpi=150, layout="constrained")
    axes = [figure.add_subplot(1, columns, column + 1) for column in range(columns)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(MUTED)
        ax.tick_params(colors=INK, labelsize=9)
        ax.title.set_color(INK)
    return figure, axes

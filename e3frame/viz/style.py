"""Common style of all figures."""

from __future__ import annotations

import io
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

INK = "#1f2933"
MUTED = "#8a94a0"
BLUE = "#2166ac"
ORANGE = "#d6604d"
PALETTE = (BLUE, ORANGE, "#4d9221", "#7b3294", "#b8860b", "#35978f", "#8c510a", "#5e6a75")
"""Colours of the groups in a panel. At most eight groups are drawn."""


PLAIN = {"Software": None}
"""Metadata of a PNG file that names no version of a library."""


class Picture(Figure):
    """A figure that notebooks show, also if pyplot is not in use."""

    def _repr_png_(self) -> bytes:
        return rendered(self, dpi=100)


def new_figure(
    panels: int, width: float = 4.2, height: float = 3.6, columns: int | None = None
) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels of ``width`` by ``height`` inches, in one row or in rows of ``columns`` panels."""
    columns = min(panels, columns or panels)
    rows = -(-panels // columns)
    figure = Picture(figsize=(width * columns, height * rows), dpi=150, layout="constrained")
    axes = [figure.add_subplot(rows, columns, panel + 1) for panel in range(panels)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(MUTED)
        ax.tick_params(colors=INK, labelsize=9)
        ax.title.set_color(INK)
    return figure, axes


def rendered(
    figure: Figure, *, format: str = "png", dpi: int = 150, metadata: Mapping[str, str | None] = PLAIN
) -> bytes:
    """The content of a file with this figure, the same whenever it is drawn."""
    content = io.BytesIO()
    figure.savefig(content, format=format, dpi=dpi, metadata=dict(metadata))
    return content.getvalue()


def density(color: str) -> LinearSegmentedColormap:
    """Return a colormap for the number of points; its palest shade still shows a single point."""
    r, g, b = (0.4 * channel for channel in to_rgb(color))
    pale, dark = (r + 0.6, g + 0.6, b + 0.6), (r, g, b)
    return LinearSegmentedColormap.from_list("density", [pale, to_rgb(color), dark])

"""Drawing of a tensor product: its paths, which of them are learned, and their coefficients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from e3frame.algebra.irreps import Irrep, Irreps
from e3frame.algebra.plan import Instruction, ProductPlan
from e3frame.viz.style import INK, MUTED, Picture

if TYPE_CHECKING:
    from torch import Tensor

    from e3frame.o3 import TensorProduct

__all__ = ["draw_tensor_product"]

Point = tuple[float, float]

_DEGREES = ("#2166ac", "#d1495b", "#1b8a5a", "#7b52ab", "#c77d0a", "#0e8f9e", "#a33b8f", "#5f6f1c")
_GUIDE = "#d5dae1"
_FIXED = "#77818d"
# Inches between two terms of in1, of in2, of the output, and of an output of many terms. They differ so that points
# where inputs meet are not aligned above an output.
_SPACINGS = (0.38, 0.48, 0.6, 0.28)
_FEW = 8
_SLOPE = sqrt(3)


@dataclass(frozen=True)
class _Layout:
    """Positions of the terms of the inputs and the output, in inches.

    The terms of the inputs are on the upper sides of a hexagon. Lines from them, at right angles to their side, cross
    at a separate point for each pair of terms. The terms of the output are on the lower side.
    """

    in1: list[Point]
    in2: list[Point]
    out: list[Point]
    offsets1: list[float]
    offsets2: list[float]
    stretch: float

    def meeting(self, i1: int, i2: int) -> Point:
        a, b = self.offsets1[i1], self.offsets2[i2]
        return self.stretch * (a - b), (a + b) / _SLOPE

    @property
    def bottom(self) -> float:
        return self.out[0][1] if self.out else min(y for _, y in (*self.in1, *self.in2, (0.0, 0.0)))


def _lay_out(plan: ProductPlan, stretch: float) -> _Layout:
    offsets1, length1 = _spread(len(plan.irreps_in1), _SPACINGS[0], 1.4)
    offsets2, length2 = _spread(len(plan.irreps_in2), _SPACINGS[1], 1.4)
    offsets1, offsets2 = offsets1[::-1], offsets2[::-1]  # both inputs are read from top to bottom
    width = 0.5 * (length1 + length2)
    count = len(plan.irreps_out)
    offsets_out, length_out = _spread(count, _SPACINGS[3 if count > _FEW else 2], 1.3 * width)
    away1 = 0.29 * length1 + 0.58 * length2 + 0.15
    away2 = 0.58 * length1 + 0.29 * length2 + 0.15
    bottom = -width / _SLOPE - max(0.8, 0.45 * width, 0.2 * length_out)
    return _Layout(
        in1=[(stretch * (0.5 * a - 0.5 * _SLOPE * away1), 0.5 * _SLOPE * a + 0.5 * away1) for a in offsets1],
        in2=[(stretch * (-0.5 * b + 0.5 * _SLOPE * away2), 0.5 * _SLOPE * b + 0.5 * away2) for b in offsets2],
        out=[(stretch * x, bottom) for x in offsets_out],
        offsets1=offsets1,
        offsets2=offsets2,
        stretch=stretch,
    )


def _spread(count: int, spacing: float, least: float) -> tuple[list[float], float]:
    """Return ``count`` offsets around zero, and the length of their side."""
    length = max(least, spacing * (count + 1))
    step = length / (count + 1)
    return [(i + 1) * step - length / 2 for i in range(count)], length


def draw_tensor_product(
    product: TensorProduct | ProductPlan,
    weight: Tensor | None = None,
    plot_weight: bool = True,
    aspect_ratio: float | Literal["auto"] = 1,
    ax: Axes | None = None,
    title: str | None = None,
) -> tuple[Figure, Axes]:
    """Draw the inputs, the output and every path of a tensor product.

    The first input is on the left, the second on the right, the output at the bottom. A path runs from the point where
    its two inputs meet to its output. Learned paths have the colour of the output's degree (paler for odd parity),
    fixed ones are grey; the width shows the coefficient. Terms that no path reaches are pale.

    Args:
        product: a module or a plan.
        weight: weights of the paths, as for the module; by default its own, if it has any.
        plot_weight: whether the width of learned paths shows coefficient times root mean square of the weights (if
            there are weights), or only the coefficient.
        aspect_ratio: factor that stretches the width.
        ax: axes to draw on; by default those of a new figure with a caption.
        title: title of the caption; by default the class of ``product``.

    Returns:
        the figure and its axes.

    Raises:
        ValueError: ``aspect_ratio`` is neither a positive number nor "auto".
    """
    stretch = 1.0 if aspect_ratio == "auto" else aspect_ratio
    if not isinstance(stretch, int | float) or not stretch > 0:
        raise ValueError(f"aspect_ratio must be a positive number or 'auto', got {aspect_ratio!r}")
    plan = product if isinstance(product, ProductPlan) else product.plan
    layout = _lay_out(plan, stretch)
    owned = getattr(product, "internal_weights", False) and plan.weight_numel > 0
    weighs = plot_weight and (weight is not None or owned)
    if ax is None:
        name = "TensorProduct" if product is plan else type(product).__name__
        ax = _new_axes(plan, layout, title or name, "coefficient × weights" if weighs else "coefficient")
    _draw_guides(ax, plan, layout)
    _draw_paths(ax, plan, layout, _strengths(product, plan, weight, weighs))
    _draw_terms(ax, plan, layout)
    ax.set_aspect("equal")
    ax.axis("off")
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    return figure, ax


def _strengths(product: Any, plan: ProductPlan, weight: Tensor | None, weighs: bool) -> list[float]:
    """Contribution of each path for inputs of unit size."""
    strengths = [ins.path_weight for ins in plan.instructions]
    if weighs:
        for n, _, view in product.weight_views(weight, yield_instruction=True):
            strengths[n] *= view.detach().square().mean().sqrt().item() if view.numel() else 0.0
    return strengths


def _draw_guides(ax: Axes, plan: ProductPlan, layout: _Layout) -> None:
    """Draw lines from each term of an input through the points where it meets terms of the other."""
    for ports, pick in ((layout.in1, 0), (layout.in2, 1)):
        for i, (x, y) in enumerate(ports):
            met = [layout.meeting(*ins[:2]) for ins in plan.instructions if ins[pick] == i]
            if met:
                far = max(met, key=lambda p: abs(p[0] - x))
                ax.plot([x, far[0]], [y, far[1]], color=_GUIDE, lw=1.1, zorder=1, solid_capstyle="round")


def _draw_paths(ax: Axes, plan: ProductPlan, layout: _Layout, strengths: Sequence[float]) -> None:
    widest = min(4.0, max(2.0, 40 / max(len(strengths), 1)))
    largest = max(strengths, default=0.0)
    nodes: dict[Point, list[str]] = {}
    alike = Counter(ins[:3] for ins in plan.instructions)
    seen: Counter[tuple[int, ...]] = Counter()
    for ins, strength in zip(plan.instructions, strengths, strict=True):
        color = path_color(ins, plan)
        start, end = layout.meeting(ins.i_in1, ins.i_in2), layout.out[ins.i_out]
        bow = 0.25 * (seen[ins[:3]] - (alike[ins[:3]] - 1) / 2)
        seen[ins[:3]] += 1
        nodes.setdefault(start, []).append(color)
        width = 0.6 + (widest - 0.6) * strength / largest if strength > 0 else 0.6
        style = "-" if strength > 0 else ":"
        ax.add_patch(PathPatch(_curve(start, end, bow), fc="none", ec=color, lw=width, ls=style, alpha=0.85, zorder=2))
    for (x, y), colors in nodes.items():
        color = colors[0] if len(set(colors)) == 1 else INK
        ax.plot([x], [y], "o", ms=5.0, color=color, mec="white", mew=0.8, zorder=4)


def _curve(start: Point, end: Point, bow: float) -> Path:
    """Return a curve from a meeting point to an output; ``bow`` to the side separates paths between the same points."""
    (x, y), (x_out, y_out) = start, end
    drop, shift = y - y_out, x_out - x
    controls = [(x + 0.25 * shift + bow, y - 0.35 * drop), (x_out - 0.12 * shift + bow, y_out + 0.4 * drop)]
    return Path([start, *controls, end], [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])


def _draw_terms(ax: Axes, plan: ProductPlan, layout: _Layout) -> None:
    used = {side: {ins[side] for ins in plan.instructions} for side in range(3)}
    used[2] = {i for i, reached in enumerate(plan.output_mask) if reached}
    upright = _is_roomy(plan.irreps_out, layout)
    below = {"ha": "center", "va": "top", "rotation": 0 if upright else 90}
    sides: list[tuple[Irreps, list[Point], Point, dict[str, Any]]] = [
        (plan.irreps_in1, layout.in1, (-7, 0), {"ha": "right", "va": "center"}),
        (plan.irreps_in2, layout.in2, (7, 0), {"ha": "left", "va": "center"}),
        (plan.irreps_out, layout.out, (0, -7), below),
    ]
    for side, (irreps, ports, shift, options) in enumerate(sides):
        if len(ports) > 1:
            (x0, y0), (x1, y1) = ports[0], ports[-1]
            dx, dy = 0.5 * (x1 - x0) / (len(ports) - 1), 0.5 * (y1 - y0) / (len(ports) - 1)
            ax.plot([x0 - dx, x1 + dx], [y0 - dy, y1 + dy], color=INK, lw=1.0, zorder=3)
        for i, (mul_ir, (x, y)) in enumerate(zip(irreps, ports, strict=True)):
            color = degree_color(mul_ir.ir) if i in used[side] else MUTED
            face = color if i in used[side] else "white"
            ax.plot([x], [y], "o", ms=6.0, mfc=face, mec=color, mew=1.0, zorder=5)
            text = f"{mul_ir.mul}×{mul_ir.ir}" if mul_ir.mul != 1 else f"{mul_ir.ir}"
            ax.annotate(text, (x, y), shift, textcoords="offset points", color=color, fontsize=10, **options)


def _is_roomy(irreps: Irreps, layout: _Layout) -> bool:
    """Whether the labels of the output fit side by side without rotation."""
    if len(irreps) < 2:
        return True
    longest = max(len(str(mul_ir)) for mul_ir in irreps)
    return layout.out[1][0] - layout.out[0][0] > 0.085 * longest + 0.12


def _new_axes(plan: ProductPlan, layout: _Layout, title: str, widths: str) -> Axes:
    points = [*layout.in1, *layout.in2, *layout.out, (0.0, 0.0)]
    left = min(-1.8, *(x - 0.75 for x, _ in points))
    right = max(1.8, *(x + 0.75 for x, _ in points))
    labels = 0.3 if _is_roomy(plan.irreps_out, layout) else 0.25 + 0.085 * max(map(len, map(str, plan.irreps_out)))
    low, high = layout.bottom - labels - 0.4, max(y for _, y in points) + 0.65
    figure = Picture(figsize=(right - left, high - low), dpi=150)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(left, right), ylim=(low, high))
    ax.text(left + 0.1, high - 0.1, title, va="top", fontsize=10, color=INK, weight="bold")
    ax.text(left + 0.1, high - 0.3, _count(plan), va="top", fontsize=8.5, color=MUTED)
    key = f"coloured: learned, by the output's degree; grey: fixed\nwidth: {widths}"
    ax.text(left + 0.1, low + 0.08, key, va="bottom", fontsize=7.5, color=MUTED)
    return ax


def _count(plan: ProductPlan) -> str:
    paths, learned, weights = (
        len(plan.instructions),
        sum(ins.has_weight for ins in plan.instructions),
        plan.weight_numel,
    )
    head = f"{paths} path{'s' * (paths != 1)}"
    if not learned:
        return f"{head}, none learned"
    share = "" if learned == paths else f"{learned} learned, "
    return f"{head}, {share}{weights:,} weight{'s' * (weights != 1)}"


def path_color(ins: Instruction, plan: ProductPlan) -> str:
    """Return grey for a fixed path, the colour of the output for a learned one."""
    return degree_color(plan.irreps_out[ins.i_out].ir) if ins.has_weight else _FIXED


def degree_color(ir: Irrep) -> str:
    """Return the hue of a degree, paler for odd parity."""
    hue = _DEGREES[ir.l % len(_DEGREES)]
    if ir.p == 1:
        return hue
    channels = (int(hue[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(value + 0.35 * (255 - value)):02x}" for value in channels)

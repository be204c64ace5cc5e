"""Pictures of a layer as SVG that takes the colours of the page: irreps in and out, and the paths of its product."""

from __future__ import annotations

import io
import re
from html import escape

from e3frame.algebra.irreps import Irreps
from e3frame.algebra.paths import ProductPlan
from e3frame.spec.layer import Step
from e3frame.viz.style import INK
from e3frame.viz.tensor_product import degree_color, draw_tensor_product

_TERM, _ROW, _NAME = 74, 40, 150


def flow(step: Step) -> str:
    """What a layer reads on the left, what it gives on the right; one box for each term of the irreps."""
    read = [binding for binding in step.scope.bindings.values() if binding.key in step.signature.inputs]
    rows = [(binding.name, binding.domain, binding.irreps) for binding in read]
    rows = rows or [("the graph", "positions, species, edges", Irreps(""))]
    given = ("result", step.signature.output.domain, step.signature.output.irreps)
    left = max(map(_width, rows))
    middle = 10.0 * len(step.spec.kind) + 30
    width, height = left + middle + _width(given) + 80, max(len(rows), 1) * (_ROW + 14) + 10
    centre = height / 2
    start, end = left + 40, left + 40 + middle
    parts = []
    for number, row in enumerate(rows):
        y = 5 + (number + 0.5) * (height - 10) / len(rows)
        parts.append(_row(row, left - _width(row), y))
        parts.append(_arrow(left + 2, y, start, centre))
    parts.append(
        f'<rect x="{start}" y="{centre - 18}" width="{middle}" height="36" rx="8" class="layer"/>'
        f'<text x="{start + middle / 2}" y="{centre + 5}" class="kind">{escape(step.spec.kind)}</text>'
    )
    parts.append(_arrow(end, centre, end + 38, centre))
    parts.append(_row(given, end + 40, centre))
    label = f"{step.spec.kind}: {', '.join(f'{name} {irreps}' for name, _, irreps in rows)} to {given[2]}"
    return _svg(width, height, parts, label, "flow")


def paths(plan: ProductPlan) -> str:
    """The picture of `e3frame draw`, without a background and with ink in the colour of the text."""
    figure, _ = draw_tensor_product(plan, title=" ")
    figure.patch.set_alpha(0)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor").replace("#ffffff", "var(--color-background-primary)")
    return re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL).replace("<svg ", '<svg class="paths" ', 1)


def _width(row: tuple[str, str, Irreps]) -> float:
    return max(len(row[2]) * (_TERM + 4), 7.0 * len(f"{row[0]} per {row[1]}"))


def _row(row: tuple[str, str, Irreps], x: float, y: float) -> str:
    name, domain, irreps = row
    per = f"{name}, per {domain}" if irreps else f"{name}: {domain}"
    parts = [f'<text x="{x}" y="{y - 9 if irreps else y + 4}" class="name">{escape(per)}</text>']
    for number, mul_ir in enumerate(irreps):
        left = x + number * (_TERM + 4)
        parts.append(
            f'<rect x="{left}" y="{y - 2}" width="{_TERM}" height="20" rx="4" fill="{degree_color(mul_ir.ir)}"/>'
            f'<text x="{left + _TERM / 2}" y="{y + 12}" class="term">{mul_ir.mul}×{mul_ir.ir}</text>'
        )
    return "".join(parts)


def _arrow(x0: float, y0: float, x1: float, y1: float) -> str:
    bend = (x1 - x0) / 2
    curve = f"M {x0} {y0} C {x0 + bend} {y0} {x1 - bend} {y1} {x1 - 6} {y1}"
    head = f"M {x1 - 7} {y1 - 4} L {x1} {y1} L {x1 - 7} {y1 + 4} Z"
    return f'<path d="{curve}" class="arrow"/><path d="{head}" class="head"/>'


def _svg(width: float, height: float, parts: list[str], label: str, kind: str) -> str:
    box = f'viewBox="0 0 {width:.0f} {height:.0f}" style="max-width: {width:.0f}px"'
    return f'<svg class="{kind}" role="img" aria-label="{escape(label)}" {box}>{"".join(parts)}</svg>'

"""Parts of a self-contained HTML page, with embedded PNG figures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.figure import Figure

from e3frame.viz.style import rendered

_STYLE = """
:root { --ink: #1f2933; --muted: #66717d; --line: #e4e7eb; --soft: #f6f8fa; --accent: #2166ac; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff; font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; }
main { max-width: 900px; margin: 0 auto; padding: 28px 28px 48px; }
h1 { font-size: 24px; line-height: 1.25; margin: 0; letter-spacing: -0.01em; }
.lead { color: var(--muted); margin: 2px 0 18px; overflow-wrap: anywhere; }
h2 { font-size: 16px; margin: 32px 0 8px; padding-bottom: 5px; border-bottom: 1px solid var(--line); }
h3 { font-size: 13px; margin: 18px 0 4px; }
.note { color: var(--muted); font-size: 12.5px; margin: 4px 0 8px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(156px, 1fr)); gap: 10px; }
.card { background: var(--soft); border-radius: 8px; padding: 10px 14px; }
.card b { display: block; font-size: 19px; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums; }
.card b small { font-size: 12px; font-weight: 400; color: var(--muted); }
.card span { color: var(--muted); font-size: 12px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 12.5px; font-variant-numeric: tabular-nums; }
table.full { width: 100%; }
th { text-align: left; font-weight: 600; color: var(--muted); border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th, td { padding: 3px 12px 3px 0; vertical-align: top; }
td { border-bottom: 1px solid #f0f2f4; }
tr:last-child td { border-bottom: 0; }
.number { text-align: right; white-space: nowrap; }
code, pre { font: 12px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { background: var(--soft); border-radius: 8px; padding: 12px 16px; overflow-x: auto; }
img { display: block; max-width: 100%; height: auto; margin: 6px 0; }
details summary { cursor: pointer; color: var(--accent); margin: 10px 0; }
.columns { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 4px 32px; }
"""


@dataclass(frozen=True)
class Card:
    """A highlighted number: ``value unit``, with the description ``what`` below."""

    value: str
    unit: str
    what: str

    def __str__(self) -> str:
        unit = f" <small>{escape(self.unit)}</small>" if self.unit else ""
        return f'<div class="card"><b>{escape(self.value)}{unit}</b><span>{escape(self.what)}</span></div>'


def page(title: str, lead: str | Sequence[str], cards: Sequence[Card], sections: Mapping[str, str]) -> str:
    """Return a complete HTML page.

    Args:
        title: title of the page.
        lead: lines of text below the title.
        cards: highlighted numbers.
        sections: HTML by heading, in order.
    """
    body = "\n".join(f"<h2>{escape(heading)}</h2>\n{html}" for heading, html in sections.items())
    shown = "".join(map(str, cards))
    lines = "<br>".join(map(escape, [lead] if isinstance(lead, str) else lead))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>\n"
        f'<p class="lead">{lines}</p>\n<div class="cards">{shown}</div>\n{body}\n</main>\n</body>\n</html>\n'
    )


def table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str] = (), full: bool = False
) -> str:
    """Return an HTML table. The columns with headings in ``numbers`` are aligned to the right."""
    kinds = [' class="number"' if heading in numbers else "" for heading in headings]
    head = "".join(f"<th{kind}>{escape(text)}</th>" for kind, text in zip(kinds, headings, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(text)}</td>" for kind, text in zip(kinds, row, strict=True)) + "</tr>\n"
        for row in rows
    )
    head = f"<tr>{head}</tr>\n" if any(headings) else ""
    return f'<div class="wide"><table{" class=full" if full else ""}>\n{head}{body}</table></div>'


def image(figure: Figure, what: str) -> str:
    """Return a figure as an embedded PNG with the alternative text ``what``."""
    data = base64.b64encode(rendered(figure, dpi=130)).decode("ascii")
    width = round(96 * figure.get_size_inches()[0])  # CSS pixels, so that text in figures has the size of the page's
    return f'<img alt="{escape(what)}" width="{width}" src="data:image/png;base64,{data}">'


def note(text: str) -> str:
    """Return a line of small text."""
    return f'<p class="note">{escape(text)}</p>'


def folded(summary: str, text: str) -> str:
    """Return preformatted text that is hidden until a click on ``summary``."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"


def columns(parts: Sequence[tuple[str, str]]) -> str:
    """Return pieces of HTML with headings, side by side if the page is wide enough."""
    inner = "".join(f"<div><h3>{escape(heading)}</h3>{html}</div>" for heading, html in parts)
    return f'<div class="columns">{inner}</div>'

"""``e3frame layers``: the kinds of layers, and the keys of one."""

from __future__ import annotations

import inspect
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

import e3frame.layers  # noqa: F401  (registers every kind)
from e3frame.cli.arguments import Parser
from e3frame.compose import from_overrides
from e3frame.spec.base import Spec, shown
from e3frame.spec.docs import key_docs
from e3frame.spec.errors import UserError, did_you_mean
from e3frame.spec.layer import LayerSpec
from e3frame.spec.plugins import Names, installed, load


def main(arguments: list[str]) -> int:
    parser = Parser("e3frame layers", lambda: ["plugins"], description="The kinds of layers; with a kind, its keys.")
    parser.add_argument("kind", nargs="?", help="one kind")
    parser.add_argument("plugins", nargs="*", metavar="plugins=NAME", help="modules with layers of your own")
    plugins = [argument for argument in arguments if argument.startswith("plugins=")]
    kind = parser.parse_args([argument for argument in arguments if argument not in plugins]).kind
    named = from_overrides(plugins).parse(_Plugins).plugins
    load([*installed(), *named], named)
    if kind is None:
        Console().print(_kinds())
        return 0
    if kind not in LayerSpec.members:
        raise UserError(f"no layer is called {kind}\n  {did_you_mean(kind, LayerSpec.members)}")
    _one(LayerSpec.members[kind], Console())
    return 0


class _Plugins(Spec):
    plugins: Names = ()
    """Modules that the user names."""


def _kinds() -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("kind", no_wrap=True)
    table.add_column("what it does")
    for kind, layer in sorted(LayerSpec.members.items()):
        table.add_row(kind, Text(_first_line(layer)))
    return table


def _first_line(layer: type[LayerSpec]) -> str:
    return (inspect.getdoc(layer) or "").split("\n\n")[0].replace("\n", " ").replace("``", "")


def _one(layer: type[LayerSpec], console: Console) -> None:
    paragraphs = (inspect.getdoc(layer) or "").replace("``", "").split("\n\n")
    for paragraph in paragraphs:
        console.print(Text(paragraph.replace("\n", " ") + "\n"))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("key", "default"):
        table.add_column(heading, no_wrap=True)
    table.add_column("meaning")
    docs = key_docs(layer)
    for name, field in layer.model_fields.items():
        if name != "kind":
            default = "required" if field.is_required() else _written(field.default)
            table.add_row(name, Text(default), Text(docs.get(name, "").replace("``", "").replace("\n", " ")))
    console.print(table)
    console.print(Text(f"\nexample  {layer.example}"))


def _written(value: Any) -> str:
    """A default as YAML has it."""
    return f"[{', '.join(map(shown, value))}]" if isinstance(value, tuple) else shown(value)

"""``e3frame layers``: the kinds of layers, and the keys of one."""

from __future__ import annotations

import inspect

from rich.console import Console
from rich.table import Table
from rich.text import Text

import e3frame.layers  # noqa: F401  (registers every kind)
from e3frame.cli.arguments import Parser
from e3frame.compose import from_overrides
from e3frame.spec.base import Spec
from e3frame.spec.docs import keys_of
from e3frame.spec.errors import UserError, did_you_mean
from e3frame.spec.layer import LayerSpec
from e3frame.spec.plugins import Names, installed, load

_EXAMPLES = """
    e3frame layers                          all kinds
    e3frame layers convolution              the keys of one
    e3frame layers plugins=my_layers        also those of a module of your own
"""


class LayersConfig(Spec):
    """Keys of the verb."""

    kind: str | None = None
    """The kind of layer to describe."""
    plugins: Names = ()
    """Modules to import, with layers of your own."""


def parser() -> Parser:
    return Parser("layers", _EXAMPLES, words="layers", spec=LayersConfig, leading=["kind"])


def main(arguments: list[str]) -> int:
    config = from_overrides(parser().key_values(arguments)).parse(LayersConfig)
    load([*installed(), *config.plugins], config.plugins)
    if config.kind is None:
        Console().print(_kinds())
        return 0
    if config.kind not in LayerSpec.members:
        raise UserError(f"no layer kind is named {config.kind}\n  {did_you_mean(config.kind, LayerSpec.members)}")
    _show(LayerSpec.members[config.kind], Console())
    return 0


def _kinds() -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("kind", no_wrap=True)
    table.add_column("what it does")
    for kind, layer in sorted(LayerSpec.members.items()):
        table.add_row(kind, Text(_paragraphs(layer)[0]))
    return table


def _paragraphs(layer: type[LayerSpec]) -> list[str]:
    text = (inspect.getdoc(layer) or "").replace("``", "")
    return [paragraph.replace("\n", " ") for paragraph in text.split("\n\n")]


def _show(layer: type[LayerSpec], console: Console) -> None:
    for paragraph in _paragraphs(layer):
        console.print(Text(f"{paragraph}\n"))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("key", "default"):
        table.add_column(heading, no_wrap=True)
    table.add_column("meaning")
    for key in keys_of(layer):
        default = "required" if key.default is None else key.default
        table.add_row(key.name, Text(default), Text(key.doc.replace("``", "").replace("\n", " ")))
    console.print(table)
    console.print(Text(f"\nexample  {layer.example}"))

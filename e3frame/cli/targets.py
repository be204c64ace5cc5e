"""The table of a run's targets, and of what its model reads besides the structures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from e3frame.config.run import TypedRun
from e3frame.spec.words import printable, typeset

if TYPE_CHECKING:
    from e3frame.config.targets import TargetSpec

HEADINGS = ("target", "irreps", "per", "unit", "weight", "output", "label")


def targets_table(run: TypedRun) -> Table:
    """Each target with its type, the output that gives it and the key of the data that holds it."""
    config = run.config
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in HEADINGS:
        table.add_column(heading, no_wrap=heading in ("target", "per"))
    for name, target in config.task.targets.items():
        layer = config.model.outputs[name]
        of = f" of {layer.of}" if isinstance(getattr(layer, "of", None), str) else ""
        key, total = config.data.key_of(config.task.key(name)), "" if target.sum is None else "the sum: "
        row = [_type(target), target.type.domain, typeset(config.task.unit(name)), _weight(target)]
        table.add_row(*map(_cell, (name, *row, f"{layer.kind}{of}", f"{total}{key}")))
    return table


def inputs_table(run: TypedRun) -> Table:
    """Each input of the model with its irreps and the key of the data that holds it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("input", "irreps", "per", "key"):
        table.add_column(heading, no_wrap=True)
    for name, irreps in run.config.model.inputs.items():
        cells = (name, str(irreps).replace("+", " + "), "graph", run.config.data.key_of(name))
        table.add_row(*map(_cell, cells))
    return table


def _cell(text: str) -> Text:
    """What the user wrote, such as a unit or a key of a file, as it is: neither markup nor control of the terminal."""
    return Text(printable(text))


def _type(target: TargetSpec) -> str:
    irreps = str(target.type.irreps).replace("+", " + ")
    return irreps if target.formula is None else f"{target.formula}: {irreps}"


def _weight(target: TargetSpec) -> str:
    if not isinstance(target.weight, dict):
        return f"{target.weight:g}"
    return ", ".join(f"{weight:g} from {epoch}" for epoch, weight in sorted(target.weight.items()))

"""Tables of what ``e3frame check`` proves: the layers of a model, the targets of a run, and the inputs of its model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from e3frame.algebra.irreps import Irreps
from e3frame.spec.words import printable, typeset

if TYPE_CHECKING:
    from e3frame.config.run import TypedRun
    from e3frame.config.targets import TargetSpec
    from e3frame.model import TypedModel
    from e3frame.spec.layer import Step


def console(width: int = 120, stderr: bool = False) -> Console:
    """A console that is ``width`` columns wide where its output is not a terminal."""
    found = Console(stderr=stderr)
    return found if found.is_terminal else Console(stderr=stderr, width=width)


def show_model(typed: TypedModel, console: Console, species: tuple[str, ...] | None = None) -> None:
    """Print the layers in order, each with the type of its result and its number of parameters.

    Args:
        species: those of the data, if the model's are ``auto`` and the data's are known without reading them.
    """
    known = species if typed.spec.species == "auto" else typed.spec.species
    typed, more = (typed.spec.typed(n) for n in ((len(known),) * 2 if known else (1, 2)))
    kind = "auto" if typed.spec.species == "auto" else "given"
    names = f": {' '.join(known)}" if known else ""
    console.print(f"r_max {typed.spec.r_max:g} Å, species {kind}{names}", highlight=False)
    if typed.spec.symmetry == "SO(3)":
        console.print("symmetry SO(3): parity is not checked; mirror images may differ", highlight=False)
    table = _table("layer", "kind", "per")
    table.add_column("irreps")
    table.add_column("dim", justify="right")
    table.add_column("parameters", justify="right", no_wrap=True)
    outputs = {binding.key for binding in typed.outputs.values()}
    for name, irreps in typed.spec.inputs.items():
        table.add_row(name, "input", "graph", _spaced(irreps), str(irreps.dim), "-")
    for one, two in zip(typed.steps, more.steps, strict=True):
        table.add_row(*_row(one, two, one.binding.key in outputs))
    console.print(table)
    total = _count(typed.num_parameters, more.num_parameters)
    width = console.measure(table).maximum  # a row of the table would take the width of its "+ 32 S" from the irreps
    console.print(f"total{total:>{width - 5}}", style="bold", highlight=False)
    if not known:
        console.print("S: number of species, known from the training data", style="dim")


def targets_table(run: TypedRun) -> Table:
    """Each target with its type, the output that gives it and the key of the data that holds it."""
    config = run.config
    wrapped = ("irreps", "unit", "weight", "output", "label")
    table = _table("target", "irreps", "per", "unit", "weight", "output", "label", wrapped=wrapped)
    for name, target in config.task.targets.items():
        layer = config.model.outputs[name]
        of = f" of {layer.source}" if layer.source else ""
        key, total = config.data.key_of(config.task.key(name)), "" if target.sum is None else "the sum: "
        row = [_type(target), target.type.domain, typeset(config.task.unit(name)), _weight(target)]
        table.add_row(*map(_cell, (name, *row, f"{layer.kind}{of}", f"{total}{key}")))
    return table


def inputs_table(run: TypedRun) -> Table:
    """Each input of the model with its irreps and the key of the data that holds it."""
    table = _table("input", "irreps", "per", "key")
    for name, irreps in run.config.model.inputs.items():
        table.add_row(*map(_cell, (name, _spaced(irreps), "graph", run.config.data.key_of(name))))
    return table


def _table(*headings: str, wrapped: tuple[str, ...] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, no_wrap=heading not in wrapped)
    return table


def _row(one: Step, two: Step, is_output: bool) -> list[str | Text]:
    name = Text(one.binding.key, style="bold green" if is_output else "")
    field = one.binding.field
    count = _count(one.num_parameters, two.num_parameters)
    return [name, one.spec.kind, field.domain, _spaced(field.irreps), str(field.irreps.dim), count]


def _count(for_one: int, for_two: int) -> str:
    """Parameters as a linear function of the number of species S, from its values at 1 and 2."""
    slope = for_two - for_one
    constant = for_one - slope
    if not slope:
        return f"{constant:,}" if constant else "-"
    return f"{constant:,} + {slope:,} S" if constant else f"{slope:,} S"


def _cell(text: str) -> Text:
    """Text of the user's, such as a unit or a key of a file, without markup or control characters."""
    return Text(printable(text))


def _spaced(irreps: Irreps) -> str:
    """Irreps whose line can be broken."""
    return str(irreps).replace("+", " + ")


def _type(target: TargetSpec) -> str:
    irreps = _spaced(target.type.irreps)
    return irreps if target.formula is None else f"{target.formula}: {irreps}"


def _weight(target: TargetSpec) -> str:
    weight: Any = target.weight  # a number, or numbers by epoch
    if not isinstance(weight, dict):
        return f"{weight:g}"
    return ", ".join(f"{value:g} from {epoch}" for epoch, value in sorted(weight.items()))

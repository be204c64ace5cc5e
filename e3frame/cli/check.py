"""``e3frame check``: the table of a model's fields, or the one message that says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.text import Text

from e3frame.cli.arguments import Parser
from e3frame.cli.shorthand import beginning, config_file, expanded, read_run
from e3frame.cli.tables import console, inputs_table, show_model, targets_table
from e3frame.files.yaml_file import read_yaml
from e3frame.model import ModelSpec, TypedModel
from e3frame.spec.errors import SpecError, UserError

if TYPE_CHECKING:
    from e3frame.config.run import TypedRun

_EXAMPLES = """
    e3frame check configs/model/nequip.yaml          a model file, or the config.yaml of a run
    e3frame check model=nequip data=sample           a run config, with overrides
    e3frame check data=xyz data.path=md.xyz          ... and some frames of each split; --full: all of them
    e3frame check mine.yaml plugins=my_layers        your own layers; only modules that you name are imported
"""


class _Checked(NamedTuple):
    """A well-typed model, the species of the data if known, warnings, and the run if there is one."""

    model: TypedModel
    species: tuple[str, ...] | None
    warnings: tuple[SpecError, ...]
    run: TypedRun | None = None


def parser() -> Parser:
    parser = Parser("check", _EXAMPLES, words="overrides")
    parser.add_argument("words", nargs="*", metavar="FILE|OVERRIDE", help="one YAML file, or overrides of a run config")
    parser.add_argument("--config-dir", metavar="FOLDER", help="a folder with further config groups")
    parser.add_argument("--full", action="store_true", help="check all frames of the data, downloading them if needed")
    parser.add_argument("--no-data", action="store_true", help="do not check the data")
    return parser


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    start, overrides = beginning(options.words)
    found = _check_run(overrides, options.config_dir) if start is None else _check_file(start, overrides)
    out, run = console(), found.run
    show_model(found.model, out, found.species)
    if run is not None:
        for table in (targets_table(run), *([inputs_table(run)] if run.config.model.inputs else [])):
            out.print()
            out.print(table)
    for warning in found.warnings:
        console(stderr=True).print(Text(f"warning: {warning}", style="yellow"), soft_wrap=True)
    return 0 if run is None or options.no_data else _show_data(run, options.full, out)


def _show_data(run: TypedRun, full: bool, out: Console) -> int:
    """Print the tables and findings of the data; return 1 for a fatal finding."""
    absent = run.config.data.absent
    if absent is not None and not full:
        out.print(f"\ndata not checked: {absent}", style="dim", highlight=False)
        return 0
    from e3frame.run.inspection import inspect_data

    found = inspect_data(run, full)
    for table in found.tables:
        out.print()
        out.print(table)
    out.print(found.frames, style="dim", highlight=False)
    return int(found.failed)


def _check_file(start: Path, overrides: list[str]) -> _Checked:
    """A model file, or the config.yaml of a run; neither needs Hydra."""
    composed = read_yaml(config_file(start))
    if "defaults" in composed.raw:
        raise UserError(
            f"{start}\n  this file has a defaults list\n  check it as part of a run: e3frame check model={start}"
        )
    named = [text for text in overrides if text.startswith("plugins=")]
    if "model" in composed.raw or len(named) < len(overrides) or start.is_dir():
        from e3frame.config.run import typed_run

        return _of_run(typed_run(read_run(start, overrides)))
    if named:
        from e3frame.compose import named_plugins

        composed = composed.with_plugins(named_plugins(named))
    typed = composed.typed(ModelSpec, ModelSpec.typed)
    return _Checked(typed, None, typed.warnings)


def _check_run(overrides: list[str], config_dir: str | None) -> _Checked:
    from e3frame.compose import load_run

    return _of_run(load_run(expanded(overrides, config_dir), config_dir))


def _of_run(run: TypedRun) -> _Checked:
    return _Checked(run.model, run.config.data.known_species, run.warnings, run)

"""``e3frame check``: the table of a model's fields, or the one message that says what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from e3frame.algebra.irreps import Irreps
from e3frame.cli.arguments import Parser, run_keys
from e3frame.cli.shorthand import beginning, config_file, expanded, read_run
from e3frame.files.yaml_file import read_yaml
from e3frame.model import ModelSpec, TypedModel
from e3frame.spec.errors import DataError, SpecError, UserError
from e3frame.spec.layer import Step

if TYPE_CHECKING:
    from e3frame.config.run import RunConfig, TypedRun
    from e3frame.data.pipeline.sampled import Sample
    from e3frame.preflight.findings import Finding


class _Checked(NamedTuple):
    """The model, the species of the data where they are known, the warnings, and the run if it is one."""

    model: TypedModel
    species: tuple[str, ...] | None
    warnings: tuple[SpecError, ...]
    run: TypedRun | None = None


_DESCRIPTION = """Type-check a model, without torch and without data; then look at some frames of a run's data, if any.

  e3frame check configs/model/nequip.yaml          a model file, or the config.yaml of a run
  e3frame check model=nequip data=sample           a run config, with overrides
  e3frame check data=xyz data.path=md.xyz          ... and some frames of each split; --full: all of them
  e3frame check mine.yaml plugins=my_layers        layers of your own: modules are imported if you name them
"""


def main(arguments: list[str]) -> int:
    parser = Parser("e3frame check", run_keys, description=_DESCRIPTION)
    parser.add_argument("what", nargs="*", help="one YAML file, or overrides of the run config")
    parser.add_argument("--config-dir", help="a folder with further config groups")
    parser.add_argument("--full", action="store_true", help="look at all frames of the data, downloaded if need be")
    parser.add_argument("--no-data", action="store_true", help="do not look at the data")
    options = parser.parse_args(arguments)
    start, overrides = beginning(options.what)
    found = _check_run(overrides, options.config_dir) if start is None else _check_file(start, overrides)
    show(found.model, _console(), found.species)
    if found.run is not None:
        _show_targets(found.run, _console())
    for warning in found.warnings:
        _show_warning(warning, _console(stderr=True))
    run = found.run
    if run is None or options.no_data:
        return 0
    absent = run.config.data.absent
    if options.full or absent is None:
        return _look(run, options.full, _console())
    _console().print(f"\ndata not looked at: {absent}", style="dim", highlight=False)
    return 0


def _show_targets(run: TypedRun, console: Console) -> None:
    from e3frame.cli.targets import inputs_table, targets_table

    for table in (targets_table(run), *([inputs_table(run)] if run.config.model.inputs else [])):
        console.print()
        console.print(table)


def _look(run: TypedRun, full: bool, console: Console) -> int:
    """The data's table and findings; 1 if training would be in vain."""
    from e3frame.config.output_units import require_file_units
    from e3frame.data.pipeline.sampling import require_room
    from e3frame.data.pipeline.single_atoms import set_apart
    from e3frame.evaluate.labels import require_inputs, require_labels
    from e3frame.preflight.findings import Finding
    from e3frame.preflight.look import Asked, look, report

    (splits, totals), broken = _loaded(run.config, full)
    held = {name: len(dataset) for name, dataset in splits.items()}
    splits, single = set_apart(splits, run.shifts, "isolated_atoms" in run.config.data.allow)
    require_file_units(run.config.task, run.config.data)
    require_room(splits, run.config.data)
    for _, dataset in splits.items():
        require_inputs(dataset, run.config.model.inputs)
    if full and not broken:
        require_labels(splits, run.config.task, run.config.monitors)
    asked = replace(Asked.of(run), known=single.known(run.energy_label))
    findings = [Finding("reading", "ok", remark) for remark in run.config.data.remarks()]
    findings += [Finding("single atoms", "note", text) for text in single.said]
    findings += broken + look(splits, asked, full)
    for table in report(splits, asked, findings):
        console.print()
        console.print(table)
    frames = ", ".join(f"{held[name]:,} of {total:,} {name}" for name, total in totals.items())
    frames = f"{held['train']:,} sound" if broken else frames
    more = "" if full or held == totals else "; --full looks at all"
    console.print(f"looked at {frames} frames{more}", style="dim", highlight=False)
    return int(any(finding.level == "error" for finding in findings))


def _loaded(config: RunConfig, full: bool) -> tuple[Sample, list[Finding]]:
    """The frames, and what is wrong with those that are broken; the others are then all taken together.

    Raises:
        DataError: a file that cannot be read, or no frame is sound.
    """
    from e3frame.data.pipeline.sampled import Sample

    r_max, labels = config.model.r_max, config.asked_of_frames
    try:
        return Sample.whole(config.data.load(r_max, labels)) if full else config.data.sample(r_max, labels), []
    except DataError as error:
        found = None if error.frame is None else config.data.survey(r_max, labels, full)
        if found is None or not found.broken or not found.sound:
            raise
    from e3frame.data.pipeline.dataset import GraphDataset, Splits

    sound = GraphDataset.from_chunks(found.sound, found.files)
    sound.r_max = r_max
    return Sample(Splits(sound, None, None), {}), found.findings()


def _console(stderr: bool = False) -> Console:
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=120)


def _check_file(start: Path, overrides: list[str]) -> _Checked:
    """A model file, or the config.yaml of a run; neither needs Hydra."""
    composed = read_yaml(config_file(start))
    if "defaults" in composed.raw:
        raise UserError(f"{start}\n  it has a defaults list: check it as part of a run, e3frame check model={start}")
    named = [text for text in overrides if text.startswith("plugins=")]
    if "model" in composed.raw or len(named) < len(overrides) or start.is_dir():
        from e3frame.config.run import typed_run

        return _of_run(typed_run(read_run(start, overrides)))
    if named:
        from e3frame.compose import named_plugins

        composed = composed.with_plugins(named_plugins(named))
    typed = composed.parse(ModelSpec, ModelSpec.typed).typed()
    return _Checked(typed, None, tuple(map(composed.sources.place, typed.warnings)))


def _check_run(overrides: list[str], config_dir: str | None) -> _Checked:
    from e3frame.compose import load_run

    return _of_run(load_run(expanded(overrides, config_dir), config_dir))


def _of_run(run: TypedRun) -> _Checked:
    return _Checked(run.model, run.config.data.known_species, run.warnings, run)


def show(typed: TypedModel, console: Console, species: tuple[str, ...] | None = None) -> None:
    """Print the layers in order, each with the type of its result and its number of parameters.

    Args:
        species: those of the data, if the model's are ``auto`` and the data's are known without reading them.
    """
    known = species if typed.spec.species == "auto" else typed.spec.species
    typed, more = (typed.spec.typed(n) for n in ((len(known),) * 2 if known else (1, 2)))
    shown = "auto" if typed.spec.species == "auto" else "given"
    console.print(
        f"r_max {typed.spec.r_max:g} Å, species {shown}{': ' + ' '.join(known) if known else ''}", highlight=False
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("layer", "kind", "per"):
        table.add_column(heading, no_wrap=True)
    table.add_column("irreps")
    table.add_column("dim", justify="right")
    table.add_column("parameters", justify="right", no_wrap=True)
    outputs = {binding.key for binding in typed.outputs.values()}
    for name, irreps in typed.spec.inputs.items():
        table.add_row(name, "input", "graph", _shown(irreps), str(irreps.dim), "-")
    for one, two in zip(typed.steps, more.steps, strict=True):
        table.add_row(*_row(one, two, one.binding.key in outputs))
    console.print(table)
    total = _count(typed.num_parameters, more.num_parameters)
    width = console.measure(table).maximum  # not a row: with "+ 32 S" it would take its width from the irreps
    console.print(f"total{total:>{width - 5}}", style="bold", highlight=False)
    if not known:
        console.print("S: number of species, which the training data tell", style="dim")


def _row(one: Step, two: Step, is_output: bool) -> list[str | Text]:
    name = Text(one.binding.key, style="bold green" if is_output else "")
    field = one.binding.field
    count = _count(one.num_parameters, two.num_parameters)
    return [name, one.spec.kind, field.domain, _shown(field.irreps), str(field.irreps.dim), count]


def _shown(irreps: Irreps) -> str:
    """With room to break the line."""
    return str(irreps).replace("+", " + ")


def _count(for_one: int, for_two: int) -> str:
    """Parameters as a linear function of the number of species S, from its values at 1 and 2."""
    slope = for_two - for_one
    constant = for_one - slope
    if not slope:
        return f"{constant:,}" if constant else "-"
    return f"{constant:,} + {slope:,} S" if constant else f"{slope:,} S"


def _show_warning(warning: SpecError, console: Console) -> None:
    console.print(Text(f"warning: {warning}", style="yellow"), soft_wrap=True)

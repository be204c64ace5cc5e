"""Tables and figures of a run: its data, its model and its errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from e3frame.config.run import RunConfig, TypedRun
from e3frame.config.targets import TargetSpec
from e3frame.evaluate.evaluation import Evaluation, error_table
from e3frame.network import Model
from e3frame.run.frames import Frames
from e3frame.spec.statistics import Statistics
from e3frame.spec.words import typeset
from e3frame.viz.training import Compared, learning_curve, parity, save, summed_up


def data_table(typed: TypedRun, data: Frames, statistics: Statistics) -> Table:
    """Return a table of the frames of each split, incomplete labels, single atoms and training statistics."""
    table = Table(title="data", title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    frames = ", ".join(f"{len(dataset):,} {name}" for name, dataset in data.splits.items())
    atoms = data.splits.train.counts("z")
    table.add_row("frames", frames)
    table.add_row("atoms per frame", _range(int(atoms.min()), int(atoms.max())))
    table.add_row("species", ", ".join(statistics.species))
    for number, line in enumerate(data.missing):
        table.add_row("" if number else "labels", line)
    for number, line in enumerate(data.single.remarks):
        table.add_row("" if number else "single atoms", line)
    for row in _scale_and_shift(statistics, typed):
        table.add_row(*row)
    table.add_row("neighbours per atom", f"{statistics.avg_num_neighbors:.2f} within {typed.config.model.r_max:g} Å")
    return table


def _scale_and_shift(statistics: Statistics, typed: TypedRun) -> Iterator[tuple[str, str]]:
    task, label = typed.config.task, typed.energy_label
    unit = next((f" {typeset(task.unit(name))}".rstrip() for name in task.targets if task.key(name) == label), "")
    if statistics.energy_shift:
        shifts = ", ".join(f"{symbol} {value:.3f}" for symbol, value in statistics.energy_shift.items())
        yield f"{label} by species" if typed.is_mean else "reference energies", shifts + unit
    if statistics.undetermined:
        yield "", f"not determined individually by these compositions: {', '.join(statistics.undetermined)}"
    if statistics.scale_of == "forces" and typed.forces_label:
        yield f"RMS {typed.forces_label}", f"{statistics.energy_scale:.4g} eV/Å"
    elif label:
        what = f"{label}, deviation" if typed.is_mean else f"{label} per atom, deviation"
        known = f"{statistics.energy_scale:.4g}{unit}"
        yield what, f"unknown; using the scale {known}" if statistics.scale_of == "nothing" else known


def model_line(model: Model, config: RunConfig) -> str:
    """Return one line about the model and its targets."""
    parameters = sum(p.numel() for p in model.parameters())
    targets = ", ".join(f"{name} (weight {_weight(t)})" for name, t in config.task.targets.items())
    return f"{parameters:,} parameters, {config.trainer.dtype}; targets: {targets}"


def draw(splits: Mapping[str, Evaluation], config: RunConfig, folder: Path) -> None:
    """Draw ``learning_curve.png`` and, for the test frames, a ``parity_<target>.png`` for each target.

    Without test frames, the last split is drawn. See :func:`compared` for what is shown.
    """
    save(learning_curve(folder / "metrics.csv"), folder / "learning_curve.png")
    split = shown_split(splits)
    for name in splits[split].errors:
        figure = parity(compared(name, splits[split], config), f"{name}, {split} frames")
        save(figure, folder / f"parity_{name}.png")


def conclude(errors: Mapping[str, Evaluation], ended: str, folder: Path, console: Console) -> None:
    """Print the errors that count most, and the files of the run."""
    split = shown_split(errors)
    console.print()
    console.print(error_table({split: errors[split]}, f"errors on the {split} frames"))
    whole = folder.resolve()
    shown = whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole
    console.print(f"\n{ended}; everything is in [bold]{shown}/[/bold]", highlight=False)
    figures = ", ".join(sorted(path.name for path in folder.glob("*.png")))
    console.print("  report    report.html\n  model     model.safetensors\n  errors    metrics.json, metrics.csv")
    console.print(f"  figures   {figures}")


def shown_split(splits: Mapping[str, Evaluation]) -> str:
    """Return the split whose errors count most: test, or else the last one."""
    return "test" if "test" in splits else list(splits)[-1]


def compared(name: str, evaluation: Evaluation, config: RunConfig) -> Compared:
    """Return labels and predictions of one target as they are drawn, without the entries that have no label.

    A target that is trained per atom is shown per atom, relative to the reference energies of the atoms.
    """
    residual, errors = evaluation.residuals[name], evaluation.errors[name]
    less = ""
    labels, predictions, unit = residual.label.numpy(), residual.prediction.numpy(), typeset(config.task.unit(name))
    if config.task.targets[name].per_atom:
        atoms, reference = evaluation.atoms.numpy()[:, None], _reference(name, evaluation, config)
        labels, predictions = (labels - reference) / atoms, (predictions - reference) / atoms
        unit = f"{unit}/atom" if unit else ""
        less = "reference energies" if np.any(reference) else ""
    there = ~np.isnan(labels)
    mae, rmse, shown = errors.shown
    groups = {}
    if config.task.targets[name].label.per == "node":
        kinds = np.broadcast_to(evaluation.species.numpy()[:, None], there.shape)[there]
        groups = {symbol: kinds == k for k, symbol in enumerate(config.model.species) if (kinds == k).any()}
    return Compared(labels[there], predictions[there], unit, summed_up(mae, rmse, shown), groups, less)


def _reference(name: str, evaluation: Evaluation, config: RunConfig) -> NDArray[np.float64] | float:
    """Return the sum of the model's shifts over the atoms of each frame, (frames, 1)."""
    given = config.model.outputs[name].scale_shift
    if given is None:
        return 0.0
    shifts = given.values(config.model.species)[1]
    return evaluation.composition.numpy() @ np.array(shifts)[:, None]


def _weight(target: TargetSpec) -> str:
    if not isinstance(target.weight, dict):
        return f"{target.weight:g}"
    return ", ".join(f"{weight:g} from epoch {epoch}" for epoch, weight in target.weight.items())


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"

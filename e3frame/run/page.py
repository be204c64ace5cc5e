"""``report.html``: the results of a run on one page."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import yaml
from ase.formula import Formula

from e3frame.config.run import RunConfig, TypedRun
from e3frame.data.pipeline.dataset import Splits
from e3frame.data.pipeline.statistics import label_range
from e3frame.evaluate.evaluation import Evaluation
from e3frame.files.written import write_file
from e3frame.run.frames import Frames
from e3frame.run.report import compared, shown_split
from e3frame.spec.quantities import quantity_of
from e3frame.spec.words import counted, in_unit, rounded, typeset
from e3frame.viz.html import Card, columns, folded, image, note, page, table
from e3frame.viz.training import learning_curve, overview, parity_by_species

WIDTH = 8.7
"""Width of the figures in inches."""
WORST = 5
"""Number of worst frames listed for each target."""


def write_page(
    path: Path,
    typed: TypedRun,
    frames: Frames,
    splits: Mapping[str, Evaluation],
    run: Mapping[str, Any],
) -> Path:
    """Write the report of a run.

    Args:
        path: the HTML file.
        typed: the run, its model resolved.
        frames: the frames of the run.
        splits: predictions and errors of the trained model on each split.
        run: numbers of the run, as in ``metrics.json``.
    """
    config, split = typed.config, shown_split(splits)
    curves = learning_curve(path.with_name("metrics.csv"), WIDTH)
    sections = {"Learning curves": image(curves, "loss and errors by epoch")}
    sections["Errors"] = _errors(splits)
    sections |= {f"{name}, {split} frames": _target(name, splits[split], config) for name in splits[split].errors}
    sections["Data"] = _data(frames.splits, frames.missing, config)
    sections["Model"] = _model(typed)
    text = page(config.name, [_lead(config, run), *_made(run)], list(_cards(splits[split], split)), sections)
    return write_file(path, text.encode())


def _lead(config: RunConfig, run: Mapping[str, Any]) -> str:
    parameters, steps = (counted(run[f"{noun}s"], noun) for noun in ("parameter", "step"))
    ended = f"{run['ended']} ({steps}) in {_time(run)}"
    return f"{parameters}, {ended}, best epoch {run['best_epoch']}, seed {config.seed}"


def _made(run: Mapping[str, Any]) -> list[str]:
    """Return the date, the versions and the command of the run."""
    versions = f"e3frame {run['e3frame']}, torch {run['torch']}, Python {platform.python_version()}"
    return [f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}, {versions}", command()]


def command() -> str:
    """Return the command of this process, with the names of programs but without their folders."""
    first, *others = sys.orig_argv or [""]
    if others and Path(others[0]).suffix in ("", ".py") and Path(others[0]).is_file():
        script = others[0] if others[0].endswith(".py") and not Path(others[0]).is_absolute() else Path(others[0]).name
        return shlex.join([*(["python"] if script.endswith(".py") else []), script, *others[1:]])
    return shlex.join([Path(first).name, *others])


def _time(run: Mapping[str, Any]) -> str:
    seconds = round(run["training_seconds"])
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min {seconds % 60:02d} s"


def _cards(evaluation: Evaluation, split: str) -> Iterator[Card]:
    for name, errors in evaluation.errors.items():
        mae, _, unit = errors.shown
        yield Card(rounded(mae), unit, f"{name} MAE, {split}")
        if errors.r2 is not None:
            yield Card(f"{errors.r2:.4f}", "", f"{name} R², {split}")


def _errors(splits: Mapping[str, Evaluation]) -> str:
    """Return a table with a row for each target and columns for each split."""
    rows = []
    for name in next(iter(splits.values())).residuals:
        found = [evaluation.errors.get(name) for evaluation in splits.values()]
        unit = next((errors.shown[2] for errors in found if errors is not None), "")
        mae = ["" if e is None else rounded(e.shown[0], 4) for e in found]
        rmse = ["" if e is None else rounded(e.shown[1], 4) for e in found]
        r2 = ["" if e is None or e.r2 is None else f"{e.r2:.5f}" for e in found]
        rows.append([name, unit, *mae, *rmse, *r2])
    numbers = [f"{error} {split}" for error in ("MAE", "RMSE", "R²") for split in splits]
    frames = ", ".join(f"{evaluation.frames:,} {split}" for split, evaluation in splits.items())
    text = (
        f"{frames} frames. R² is relative to a model without geometry: fitted reference energies of the elements for "
        "sums over atoms such as energies, the mean for other scalars, zero for vectors and tensors."
    )
    return table(["target", "unit", *numbers], rows, numbers, full=True) + note(text)


def _target(name: str, evaluation: Evaluation, config: RunConfig) -> str:
    errors, by_frame = evaluation.errors[name], evaluation.frame_errors[name]
    unit = errors.shown[2]
    drawn = compared(name, evaluation, config)
    html = image(overview(drawn, by_frame.numpy(), unit), f"{name}: parity, differences, error of each frame")
    if len(drawn.groups) > 1:
        html += image(parity_by_species(drawn), f"{name}: parity by species")
    parts = [(in_unit("worst frames, RMSE", unit), _worst(by_frame, evaluation, config))]
    kinds = "species of the two atoms" if config.task.targets[name].label.per == "edge" else "species"
    for heading, found in ((kinds, errors.by_species), ("irrep", errors.by_irrep)):
        if found:
            rows = [[key, rounded(both["mae"], 4), rounded(both["rmse"], 4)] for key, both in found.items()]
            parts.append(
                (in_unit(f"by {heading}", errors.unit), table([heading, "MAE", "RMSE"], rows, ["MAE", "RMSE"]))
            )
    return html + columns(parts)


def _worst(by_frame: torch.Tensor, evaluation: Evaluation, config: RunConfig) -> str:
    order = torch.argsort(by_frame.nan_to_num(-1.0), descending=True)[:WORST]
    rows = []
    for index in (k for k in order.tolist() if not by_frame[k].isnan()):
        file, frame = evaluation.places[index]
        counts = zip(config.model.species, evaluation.composition[index].long().tolist(), strict=True)
        formula = Formula.from_dict({symbol: count for symbol, count in counts if count}).format("hill")
        rows.append([file, str(frame), formula, rounded(float(by_frame[index]), 4)])
    return table(["file", "frame", "formula", "error"], rows, ["frame", "error"])


def _data(data: Splits, missing: Sequence[str], config: RunConfig) -> str:
    rows = []
    for split, dataset in data.items():
        atoms, edges = dataset.counts("z"), dataset.counts("edge_index")
        periodic = sum(int(block.values["pbc"].any(1).sum()) for block in dataset.blocks("pbc"))
        rows.append([split, f"{len(dataset):,}", _range(atoms), f"{int(atoms.sum()):,}"])
        rows[-1] += [f"{edges.sum() / atoms.sum():.2f}", ", ".join(dataset.species), f"{periodic:,}"]
    headings = ["split", "frames", "atoms per frame", "atoms", "neighbours per atom", "species", "periodic"]
    html = table(headings, rows, ["frames", "atoms", "neighbours per atom", "periodic"])
    task, inputs = config.task, config.model.inputs
    units = {name: quantity.unit if (quantity := quantity_of(name)) else "" for name in inputs}
    units |= {task.key(name): task.unit(name) for name in task.targets}
    rows = [[key, ", ".join(_roles(key, config)), typeset(unit), *_values(key, data)] for key, unit in units.items()]
    headings = ["key", "read as", "unit", "mean", "deviation", "smallest", "largest"]
    html += "<h3>values in the training frames (by component for vectors and tensors)</h3>" + table(
        headings, rows, headings[3:]
    )
    lines = [[line] for line in missing]
    return html + ("<h3>incomplete labels</h3>" + table([""], lines) if lines else "")


def _roles(key: str, config: RunConfig) -> Iterator[str]:
    if key in config.task.labels:
        yield "label"
    if key in config.model.inputs:
        yield "input"


def _values(key: str, data: Splits) -> list[str]:
    return label_range(data.train, key).written("mean", "deviation", "smallest", "largest")


def _range(counts: torch.Tensor) -> str:
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


def _model(run: TypedRun) -> str:
    config, typed = run.config, run.model
    rows = [
        [name, "input", "graph", str(irreps).replace("+", " + "), str(irreps.dim), ""]
        for name, irreps in config.model.inputs.items()
    ]
    rows += [
        [
            step.binding.key,
            step.spec.kind,
            step.binding.domain,
            str(step.binding.irreps).replace("+", " + "),
            str(step.binding.irreps.dim),
            f"{step.num_parameters:,}" if step.num_parameters else "",
        ]
        for step in typed.steps
    ]
    rows.append(["total", "", "", "", "", f"{typed.num_parameters:,}"])
    headings = ["layer", "kind", "per", "irreps", "dim", "parameters"]
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
    html = table(headings, rows, headings[4:], full=True)
    html += note(f"r_max {config.model.r_max:g} Å; species {', '.join(config.model.species)}")
    if config.model.symmetry == "SO(3)":
        html += note("symmetry SO(3): parity is not checked; mirror images may differ")
    html += columns(list(_scale_shifts(config)))
    return html + folded("the whole config", text)


def _scale_shifts(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Yield a table of scales and shifts for each output that has them."""
    species = config.model.species
    for name, layer in config.model.outputs.items():
        if layer.scale_shift is not None:
            scales, shifts = layer.scale_shift.values(species)
            each = zip(species, scales, shifts, strict=True)
            rows = [[symbol, f"{scale:.5g}", f"{shift:.6g}"] for symbol, scale, shift in each]
            unit = config.task.unit(name) if name in config.task.targets else ""
            heading = in_unit(f"{name} per atom = scale × network + shift", unit)
            yield heading, table(["species", "scale", "shift"], rows, ["scale", "shift"])

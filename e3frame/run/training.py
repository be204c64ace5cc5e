"""A whole run: from a config to a trained model in a folder, with its errors and figures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning import seed_everything
from lightning.pytorch.callbacks import Callback
from rich.console import Console

from e3frame.config.init import Transfer
from e3frame.config.output_units import require_file_units
from e3frame.config.run import RunConfig, TypedRun
from e3frame.data.pipeline.batches import require_room
from e3frame.data.pipeline.dataset import Splits
from e3frame.data.pipeline.loader import load
from e3frame.data.pipeline.single_atoms import SingleAtoms, set_apart
from e3frame.data.pipeline.statistics import compute_statistics
from e3frame.evaluate.evaluation import Evaluation, error_table, evaluate_split, write_metrics
from e3frame.evaluate.labels import require_inputs, require_labels
from e3frame.files.checkpoints import step_of
from e3frame.files.written import told, write_file
from e3frame.inference.saved import load_model, save_model
from e3frame.model import ModelSpec
from e3frame.preflight.look import Asked, findings_table, require_sound
from e3frame.preflight.look import look as look_at_data
from e3frame.run.contents import record
from e3frame.run.folder import locked, make_writable, results
from e3frame.run.form import require_form
from e3frame.run.memory import keep_freed_memory
from e3frame.run.page import write_page
from e3frame.run.report import data_table, draw, model_line
from e3frame.run.resume import Difference, find, look, not_a_checkpoint, require_same
from e3frame.run.transfer import apply
from e3frame.spec.errors import SpecError
from e3frame.spec.statistics import Statistics
from e3frame.training.averaging import averaged
from e3frame.training.checkpoint import Checkpoint, Damaged
from e3frame.training.fit import Fitted, fit, fitted_before
from e3frame.training.processes import accelerator, rank, together
from e3frame.version import __version__


@dataclass(frozen=True)
class RunResult:
    """Where a run's results are, and what they are worth.

    Attributes:
        folder: holds everything the run wrote.
        model: the file of the trained model.
        errors: of the model on each split; in processes other than the first, none.
        seconds: of the training alone.
    """

    folder: Path
    model: Path
    errors: Mapping[str, Evaluation]
    epochs: int
    steps: int
    seconds: float


def run(
    config: RunConfig, folder: str | Path, console: Console | None = None, observers: Sequence[Callback] = ()
) -> RunResult:
    """Train the model of a config, and leave everything in ``folder``; if it holds a part of this run, go on there.

    Writes ``config.yaml`` (which starts the same run again), ``metrics.csv``, ``checkpoints/``, ``model.safetensors``,
    ``metrics.json``, ``report.html``, ``learning_curve.png`` and a ``parity_<target>.png`` for each target.

    Args:
        config: the run.
        folder: new, or that of a run of the same config which stopped, or which was to end sooner.
        console: where to write; the standard output if None.
        observers: further callbacks of Lightning's; what they raise ends the run.

    Raises:
        Finished: the folder holds this run, finished.
        UserError: whatever is wrong with the config, the data, the folder, or the course of the training.
    """
    console = console or Console(quiet=rank(config.trainer) > 0)
    folder = Path(folder)
    accelerator(config.trainer)
    changed, there = look(folder, config), results(folder)
    if rank(config.trainer) > 0:
        return _run(config, folder, console, observers, changed)
    make_writable(folder)
    with locked(folder):
        if results(folder) != there:  # another process was here in between
            changed = look(folder, config)
        return _run(config, folder, console, observers, changed)


def _run(
    config: RunConfig, folder: Path, console: Console, observers: Sequence[Callback], changed: Sequence[Difference]
) -> RunResult:
    started = time.monotonic()
    typed = config.typed()
    start, notes = find(folder, config)
    for note in [*notes, *map(str, changed)]:
        console.print(note, highlight=False, soft_wrap=True)
    with settings(config):
        splits = load(config.data, config.model.r_max, config.asked_of_frames)
        splits, single = set_apart(splits, typed.shifts, "isolated_atoms" in config.data.allow)
        require_room(splits, config.data)
        require_file_units(config.task, config.data)
        missing = require_labels(splits, config.task, config.monitors)
        for _, dataset in splits.items():
            require_inputs(dataset, config.model.inputs)
        for remark in config.data.remarks():
            console.print(remark, highlight=False, soft_wrap=True, markup=False)
        _look(splits, typed, single, console)
        labels = (typed.energy_label or "", typed.forces_label or "")
        given = {"known": single.known(typed.energy_label), "allow": config.data.allow}
        statistics = compute_statistics(splits.train, *labels, mean=typed.is_mean, **given)
        known = config.model if typed.transfer is None else typed.transfer.known(config.model)
        resolved = config.replace(model=_resolved(known, statistics))
        console.print(data_table(splits, missing, statistics, typed, single.said))
        fitted = _trained(resolved, typed.transfer, splits, folder, console, start, observers)
        if rank(config.trainer) > 0:
            return RunResult(folder, folder / "model.safetensors", {}, fitted.epochs, fitted.steps, fitted.seconds)
        with told(folder):
            model_file = save_model(fitted.model, folder / "model.safetensors", config.task)
            # What is tested is what is in the file.
            model = load_model(model_file, fitted.device, plugins=config.model.plugins)
            errors = {
                name: evaluate_split(model, dataset, config.task, config.data.eval_batch_size)
                for name, dataset in splits.items()
            }
            result = RunResult(folder, model_file, errors, fitted.epochs, fitted.steps, fitted.seconds)
            metrics = _metrics(result, fitted, time.monotonic() - started)
            draw(result.errors, resolved, folder)
            write_page(folder / "report.html", resolved, splits, missing, result.errors, metrics["run"])
            # Last, and in one step, because a run that has it is finished.
            write_metrics(folder / "metrics.json", metrics)
    _conclude(result, fitted.ended, console)
    return result


def _look(splits: Splits, typed: TypedRun, single: SingleAtoms, console: Console) -> None:
    """Say what is odd about the data, and refuse them where training would be in vain."""
    mode = typed.config.data.preflight
    if mode == "off":
        return
    # An element that the model lacks is told with its place in the config, when the model is resolved.
    findings = look_at_data(splits, replace(Asked.of(typed), species=None, known=single.known(typed.energy_label)))
    odd = [finding for finding in findings if finding.level in ("warning", "error")]
    if mode == "refuse":
        require_sound(odd)
    if odd:
        console.print(findings_table(odd))


@contextmanager
def settings(config: RunConfig) -> Iterator[None]:
    """Set seed and threads, which are put back, and how the process holds its memory."""
    keep_freed_memory()
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        seed_everything(config.seed, workers=True, verbose=False)
        torch.set_num_threads(config.trainer.num_threads or threads)
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


def _resolved(spec: ModelSpec, statistics: Statistics) -> ModelSpec:
    resolved = spec.resolve(statistics)
    unknown = [symbol for symbol in statistics.species if symbol not in resolved.species]
    if unknown:
        problem = f"the training frames hold {', '.join(statistics.species)}; the model does not know {unknown[0]}"
        raise SpecError(("model", "species"), problem, "add it, or write auto")
    try:
        resolved.typed()
    except SpecError as error:
        raise error.under("model") from None
    return resolved


def _trained(
    config: RunConfig,
    transfer: Transfer | None,
    splits: Splits,
    folder: Path,
    console: Console,
    start: Checkpoint | None,
    observers: Sequence[Callback],
) -> Fitted:
    """Train, from an older checkpoint where one turns out not to be of this training."""
    random = torch.get_rng_state()
    while True:
        try:
            return train(config, transfer, splits, folder, console, start, observers)
        except Damaged as error:
            assert start is not None
            if config.ckpt not in (None, "last"):
                raise not_a_checkpoint(start.path, error) from None
            console.print(f"{start.path} is damaged: {error}; the one before is used", highlight=False, soft_wrap=True)
            start, notes = find(folder, config, step_of(start.path))
            for note in notes:
                console.print(note, highlight=False, soft_wrap=True)
            torch.set_rng_state(random)  # from which the weights are drawn


def train(
    config: RunConfig,
    transfer: Transfer | None,
    splits: Splits,
    folder: Path,
    console: Console,
    start: Checkpoint | None,
    observers: Sequence[Callback] = (),
) -> Fitted:
    """Train the model of a resolved config, in this process and those that train with it.

    Raises:
        Damaged: what there is to go on from is not a checkpoint of this training.
    """
    if start is not None:
        require_same(start.config, config, start.path)
    written = config.replace(folder=None, ckpt=None).model_dump(mode="json")
    text = yaml.safe_dump(written, sort_keys=False, allow_unicode=True, width=120)
    if rank(config.trainer) == 0:
        (folder / "metrics.json").unlink(missing_ok=True)  # of an earlier end
        write_file(folder / "config.yaml", f"# e3frame {__version__}\n{text}".encode())
        record(folder, config)
        if start is None:
            (folder / "metrics.csv").unlink(missing_ok=True)  # of a session without a checkpoint
    model = config.model.build().to(getattr(torch, config.trainer.weights))
    console.print(f"\n{model_line(model, config)}", highlight=False)
    if transfer is not None:
        console.print("\n".join(filter(None, (transfer.text, transfer.species(config.model)))), highlight=False)
        apply(transfer, model, config.model.plugins)
    average = None if config.trainer.ema_decay is None else averaged(model, config.trainer.ema_decay)
    if start is not None:
        require_form(start.state, model, average, config)
    if start is not None and start.done:
        return fitted_before(model, start, config, splits)
    checkpoint = None if start is None else start.path
    with together(config.trainer, folder, checkpoint, config.model.plugins):
        return fit(model, average, config, splits, folder, console, start, observers)


def _metrics(result: RunResult, fitted: Fitted, seconds: float) -> dict[str, Any]:
    return {
        **{name: evaluation.as_json() for name, evaluation in result.errors.items()},
        "run": {
            "parameters": sum(p.numel() for p in fitted.model.parameters()),
            "epochs": result.epochs,
            "steps": result.steps,
            "ended": fitted.ended,
            "best_epoch": fitted.best_epoch,
            "training_seconds": round(result.seconds, 2),
            "total_seconds": round(seconds, 2),
            "e3frame": __version__,
            "torch": torch.__version__,
        },
    }


def _conclude(result: RunResult, ended: str, console: Console) -> None:
    split = "test" if "test" in result.errors else list(result.errors)[-1]
    console.print()
    console.print(error_table({split: result.errors[split]}, f"errors on the {split} frames"))
    folder = result.folder.resolve()
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    console.print(f"\n{ended} in {result.seconds:.0f} s; everything is in [bold]{shown}/[/bold]", highlight=False)
    figures = ", ".join(sorted(path.name for path in result.folder.glob("*.png")))
    console.print(f"  report    report.html\n  model     {result.model.name}\n  errors    metrics.json, metrics.csv")
    console.print(f"  figures   {figures}")

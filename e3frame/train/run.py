"""A whole run: from a config to a trained model in a folder, with its errors and figures."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning import seed_everything
from rich.console import Console

import e3frame
from e3frame.config import RunConfig
from e3frame.data.dataset import Splits
from e3frame.data.module import DataModule
from e3frame.data.statistics import compute_statistics
from e3frame.inference.evaluate import Evaluation, error_table, evaluate_split, write_metrics
from e3frame.inference.saved import load_model, save_model
from e3frame.model import ModelSpec
from e3frame.spec.errors import SpecError, UserError
from e3frame.spec.statistics import Statistics
from e3frame.train.averaging import averaged
from e3frame.train.fit import Fitted, fit
from e3frame.train.labels import require_labels
from e3frame.train.page import write_page
from e3frame.train.report import data_table, draw, model_line

RESULTS = ("config.yaml", "checkpoints", "metrics.csv", "metrics.json", "model.safetensors")
"""What a run writes first and last: where one of them is, there was a run."""


@dataclass(frozen=True)
class RunResult:
    """Where a run's results are, and what they are worth.

    Attributes:
        folder: holds everything the run wrote.
        model: the file of the trained model.
        errors: of the model on each split.
        seconds: of the training alone.
    """

    folder: Path
    model: Path
    errors: Mapping[str, Evaluation]
    epochs: int
    steps: int
    seconds: float


def run(config: RunConfig, folder: str | Path, console: Console | None = None) -> RunResult:
    """Train the model of a config, and leave everything in ``folder``.

    Writes ``config.yaml`` (which starts the same run again), ``metrics.csv``, ``checkpoints/``, ``model.safetensors``,
    ``metrics.json``, ``report.html``, ``learning_curve.png`` and a ``parity_<target>.png`` for each target.

    Args:
        config: the run.
        folder: new, or without results of a run.
        console: where to write; the standard output if None.

    Raises:
        UserError: whatever is wrong with the config, the data, the folder, or the course of the training.
    """
    started = time.monotonic()
    console = console or Console()
    typed = config.typed()
    folder = _new_folder(Path(folder))
    with _settings(config):
        splits = config.data.load(config.model.r_max, config.task.labels)
        require_labels(splits, config.task, config.monitors)
        statistics = compute_statistics(splits.train, typed.energy_label or "", typed.forces_label or "")
        resolved = config.replace(model=_resolved(config.model, statistics))
        console.print(data_table(splits, statistics, typed))
        fitted = _train(resolved, splits, folder, console)
        model_file = save_model(fitted.model, folder / "model.safetensors", config.task)
        # What is tested is what is in the file.
        model = load_model(model_file, fitted.device, plugins=config.model.plugins)
        errors = {
            name: evaluate_split(model, dataset, config.task, config.data.eval_batch_size)
            for name, dataset in splits.items()
        }
    result = RunResult(folder, model_file, errors, fitted.epochs, fitted.steps, fitted.seconds)
    metrics = _metrics(result, fitted, time.monotonic() - started)
    write_metrics(folder / "metrics.json", metrics)
    draw(result.errors, resolved, folder)
    write_page(folder / "report.html", resolved, splits, result.errors, metrics["run"])
    _conclude(result, console)
    return result


def _new_folder(folder: Path) -> Path:
    """Raises UserError where the folder holds a run already, or cannot be written."""
    held = [name for name in RESULTS if (folder / name).exists()]
    if held:
        raise UserError(f"{folder} holds a run already ({', '.join(held)})\n  choose another folder, or delete it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from None
    return folder


@contextmanager
def _settings(config: RunConfig) -> Iterator[None]:
    """Seed and threads; what is global is put back."""
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


def _train(config: RunConfig, splits: Splits, folder: Path, console: Console) -> Fitted:
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
    (folder / "config.yaml").write_text(f"# e3frame {e3frame.__version__}\n{text}", encoding="utf-8")
    model = config.model.build().to(getattr(torch, config.trainer.dtype))
    console.print(model_line(model, config))
    average = None if config.trainer.ema_decay is None else averaged(model, config.trainer.ema_decay)
    return fit(model, average, config, DataModule(splits, config.data, config.seed), folder, console)


def _metrics(result: RunResult, fitted: Fitted, seconds: float) -> dict[str, Any]:
    return {
        **{name: evaluation.as_json() for name, evaluation in result.errors.items()},
        "run": {
            "parameters": sum(p.numel() for p in fitted.model.parameters()),
            "epochs": result.epochs,
            "steps": result.steps,
            "best_epoch": fitted.best_epoch,
            "training_seconds": round(result.seconds, 2),
            "total_seconds": round(seconds, 2),
            "e3frame": e3frame.__version__,
            "torch": torch.__version__,
        },
    }


def _conclude(result: RunResult, console: Console) -> None:
    split = "test" if "test" in result.errors else list(result.errors)[-1]
    console.print()
    console.print(error_table({split: result.errors[split]}, f"errors on the {split} frames"))
    folder = result.folder.resolve()
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    console.print(f"{result.epochs} epochs in {result.seconds:.0f} s; everything is in [bold]{shown}/[/bold]")
    figures = ", ".join(sorted(path.name for path in result.folder.glob("*.png")))
    console.print(f"  report    report.html\n  model     {result.model.name}\n  errors    metrics.json, metrics.csv")
    console.print(f"  figures   {figures}")

"""A whole run: from a checked config to a trained model in a folder, with its errors and figures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console

from e3frame import kernels
from e3frame.config.run import TypedRun
from e3frame.evaluate.evaluation import Evaluation, evaluate_split, write_metrics
from e3frame.files.written import writable
from e3frame.inference.saved import load_model, save_model
from e3frame.run.fitting import train_from_sound
from e3frame.run.folder import locked, make_writable, results
from e3frame.run.frames import Frames, load_frames
from e3frame.run.page import write_page
from e3frame.run.report import conclude, data_table, draw
from e3frame.run.resume import Difference, Held, earlier_session, find
from e3frame.run.settings import settings
from e3frame.training.fit import Fitted
from e3frame.training.processes import accelerator, rank
from e3frame.training.session import Session, say
from e3frame.version import __version__


@dataclass(frozen=True)
class RunResult:
    """Results of a run.

    Attributes:
        folder: folder with all files of the run.
        model: file of the trained model.
        errors: errors of the model on each split; empty in processes other than the first.
        epochs: epochs trained, in all sessions together.
        steps: steps of the optimizer, in all sessions together.
        seconds: duration of training and validation, in all sessions together.
    """

    folder: Path
    model: Path
    errors: Mapping[str, Evaluation]
    epochs: int
    steps: int
    seconds: float


def run(
    typed: TypedRun,
    folder: str | Path,
    console: Console | None = None,
    observers: Sequence[Callback] = (),
    held: Held | None = None,
) -> RunResult:
    """Train the model of a run and write everything into ``folder``; continue there if a session of this run stopped.

    Writes ``config.yaml`` (which starts the same run again), ``metrics.csv``, ``checkpoints/``, ``model.safetensors``,
    ``metrics.json``, ``report.html``, ``learning_curve.png`` and a ``parity_<target>.png`` for each target.

    Args:
        typed: the run, checked.
        folder: a new folder, or that of a run of the same config which stopped, or which was to end sooner.
        console: shows the progress; None: the standard output.
        observers: further callbacks of Lightning's; what they raise ends the run.
        held: what the folder held when the caller looked; None: nobody has looked yet.

    Raises:
        Finished: the folder holds this run, finished.
        UserError: something is wrong with the data or the folder, or the training broke off.
    """
    folder, started = Path(folder), time.monotonic()
    kernels.check_choice()  # plugins are imported by now
    console = console or Console(quiet=rank(typed.config.trainer) > 0)
    accelerator(typed.config.trainer)
    with _opened(folder, typed, held) as changed, settings(typed.config):
        start, notes = find(folder, typed.config)
        say(console, *notes, *map(str, changed))
        frames = load_frames(typed, console)
        frames.report_findings(typed, console)
        statistics = frames.statistics(typed)
        session = Session(typed.resolved(statistics), folder, console, start, observers)
        console.print(data_table(typed, frames, statistics))
        fitted = train_from_sound(session, frames.splits)
        if not session.writes:
            return _result(session, fitted, {})
        result = _result(session, fitted, _saved_and_evaluated(session, fitted, frames))
        _report(session, fitted, frames, result, time.monotonic() - started)
    conclude(result.errors, f"{fitted.ended} in {fitted.seconds:.0f} s", folder, console)
    return result


@contextmanager
def _opened(folder: Path, typed: TypedRun, held: Held | None) -> Iterator[Sequence[Difference]]:
    """The limits that have changed since an earlier session; meanwhile no other process writes into the folder."""
    held = held or earlier_session(folder, typed.config)
    if rank(typed.config.trainer) > 0:
        yield held.changed
        return
    make_writable(folder)
    with locked(folder):
        if results(folder) != held.files:  # another process wrote there before the lock was ours
            held = earlier_session(folder, typed.config)
        yield held.changed


def _result(session: Session, fitted: Fitted, errors: Mapping[str, Evaluation]) -> RunResult:
    model = session.folder / "model.safetensors"
    return RunResult(session.folder, model, errors, fitted.epochs, fitted.steps, fitted.seconds)


def _saved_and_evaluated(session: Session, fitted: Fitted, frames: Frames) -> dict[str, Evaluation]:
    """Write the model, read it again, and evaluate what is in the file on each split."""
    config = session.config
    with writable(session.folder):
        file = save_model(fitted.model, session.folder / "model.safetensors", config.task)
        model = load_model(file, fitted.device, plugins=config.model.plugins)
        return {
            name: evaluate_split(model, dataset, config.task, config.data.eval_batch_size)
            for name, dataset in frames.splits.items()
        }


def _report(session: Session, fitted: Fitted, frames: Frames, result: RunResult, seconds: float) -> None:
    """Write figures, page and metrics; the metrics last and in one step, because a run that has them is finished."""
    about = {
        "parameters": sum(p.numel() for p in fitted.model.parameters()),
        "epochs": fitted.epochs,
        "steps": fitted.steps,
        "ended": fitted.ended,
        "best_epoch": fitted.best_epoch,
        "training_seconds": round(fitted.seconds, 2),
        "total_seconds": round(seconds, 2),
        "e3frame": __version__,
        "torch": torch.__version__,
    }
    with writable(session.folder):
        draw(result.errors, session.config, session.folder)
        write_page(session.folder / "report.html", session.typed, frames, result.errors, about)
        errors = {name: evaluation.as_json() for name, evaluation in result.errors.items()}
        write_metrics(session.folder / "metrics.json", {**errors, "run": about})

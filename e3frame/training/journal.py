"""Reports the progress of a run: ``metrics.csv`` has a line for each epoch; the screen shows some of these lines and a
progress bar."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from e3frame.config.targets import TaskSpec
from e3frame.evaluate.metrics import units
from e3frame.files.written import append_line, write_file
from e3frame.spec.words import rounded
from e3frame.training.limits import Limits

_LINES = 20
"""Largest number of lines on the screen, however long the run is."""


class Journal:
    """Record the errors of each epoch. The header of the file gives the unit of each error; losses have none.

    Training errors are means over an epoch, during which the weights change; validation errors are those of the
    averaged weights at its end, and empty if an epoch has no validation.

    Args:
        path: the CSV file.
        task: names what is measured.
        limits: gives the time and the progress of the run.
        console: shows the lines.
        shown: split whose errors are shown.
    """

    def __init__(self, path: Path, task: TaskSpec, limits: Limits, console: Console, shown: str = "val") -> None:
        self.path, self.limits, self.console, self.shown = path, limits, console, shown
        unit = units(task)
        self.names = ["loss", *unit]
        self.columns = columns(task)
        self._on_screen = [f"{name}_mae" for name in task.targets]
        self._titles = [f"MAE ({unit[f'{n}_mae']})" if unit[f"{n}_mae"] else "MAE" for n in task.targets]
        self._names = [f"{shown} {name}" for name in task.targets]
        self._printed = -1

    def begin(self) -> None:
        """Write the header, unless the file continues that of an earlier session, and show the head of the lines."""
        if not self.path.exists():
            append_line(self.path, _line(self.columns))
        self._print(["", "", "", "train", self.shown, *self._names])
        self._print(["epoch", "time", "lr", "loss", "loss", *self._titles])

    def epoch(self, epoch: int, step: int, lr: float, values: Mapping[str, float], last: bool) -> None:
        """Record an epoch.

        Args:
            epoch: counted from 1.
            step: steps of the optimizer so far.
            lr: learning rate of the last step.
            values: metrics by name, such as ``train_loss`` and ``val_energy_mae``.
            last: whether the run ends with this epoch.
        """
        seconds = self.limits.seconds
        keys = [f"{split}_{name}" for split in ("train", "val") for name in self.names]
        errors = [f"{values[key]:.8g}" if key in values else "" for key in keys]
        row = [str(epoch), str(step), f"{seconds:.2f}", f"{lr:.6g}", *errors]
        append_line(self.path, _line(row))
        part = int(self.limits.progress() * _LINES)
        if last or part > self._printed:
            self._printed = part
            chosen = [values.get(f"{self.shown}_{name}") for name in ("loss", *self._on_screen)]
            shown = ["" if value is None else rounded(value, 4) for value in (values["train_loss"], *chosen)]
            self._print([str(epoch), f"{int(seconds) // 60}:{int(seconds) % 60:02d}", f"{lr:.1e}", *shown])

    def read(self) -> str:
        """Return all lines so far."""
        return self.path.read_text(encoding="utf-8")

    def restore(self, text: str) -> None:
        """Restore the lines up to a checkpoint; later epochs are trained, and recorded, again."""
        write_file(self.path, text.encode())

    def _print(self, cells: Sequence[str]) -> None:
        widths = [5, 6, 8, 9, 9, *(len(max(heads, key=len)) for heads in zip(self._names, self._titles, strict=True))]
        line = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        self.console.print(line, highlight=False, soft_wrap=True)


def columns(task: TaskSpec) -> list[str]:
    """Return the header of the file."""
    unit = units(task)
    titles = [f"{name} ({unit[name]})" if unit.get(name) else name for name in ("loss", *unit)]
    return ["epoch", "step", "seconds", "lr", *(f"{split}_{title}" for split in ("train", "val") for title in titles)]


def _line(row: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(row)
    return text.getvalue()


class ProgressBar(Callback):
    """Show a bar that follows ``limits.progress()``; lines printed on the same console appear above it.

    Args:
        limits: gives the progress of the run and the time left.
        console: a terminal.
    """

    def __init__(self, limits: Limits, console: Console) -> None:
        self.limits = limits
        self.progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("[cyan]{task.fields[left]} left"),
            console=console,
            transient=True,
        )
        self._bar = self.progress.add_task("training", total=1.0, left=clock(None))

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.progress.start()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        epoch = f"epoch {trainer.current_epoch + 1}"
        self.progress.update(
            self._bar, completed=self.limits.progress(), description=epoch, left=clock(self.limits.left())
        )

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.progress.stop()

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        self.progress.stop()


def clock(seconds: float | None) -> str:
    """Write seconds as hours, minutes and seconds.

    >>> clock(59.2), clock(3700), clock(None)
    ('0:01:00', '1:01:40', '-:--:--')
    """
    if seconds is None:
        return "-:--:--"
    whole = math.ceil(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"

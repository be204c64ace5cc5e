"""What a run tells while it goes on: ``metrics.csv`` with a line for each epoch, and some of them on the screen."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from e3frame.config.targets import TaskSpec
from e3frame.evaluate.metrics import units
from e3frame.files.written import append_line, write_file
from e3frame.spec.words import rounded
from e3frame.training.limits import Limits

_LINES = 20
"""Lines on the screen in a run of any length."""


class Journal:
    """Keeps the errors of each epoch. Errors have their unit in the file's header, losses have none.

    Training errors are means over an epoch, while the weights changed; validation errors are those of the averaged
    weights at its end, and empty where an epoch had no validation.

    Args:
        path: the CSV file.
        task: names what is measured.
        limits: knows the time and how far the run has come.
        console: where the lines go.
        shown: which split's errors are on the screen.
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
        """Write the header, unless the file goes on from an earlier session, and the head of the lines."""
        if not self.path.exists():
            append_line(self.path, _line(self.columns))
        self._print(["", "", "", "train", self.shown, *self._names])
        self._print(["epoch", "time", "lr", "loss", "loss", *self._titles])

    def epoch(self, epoch: int, step: int, lr: float, values: Mapping[str, float], last: bool) -> None:
        """Keep what an epoch gave.

        Args:
            epoch: counted from 1.
            step: steps of the optimizer so far.
            lr: learning rate of the last step.
            values: ``train_loss``, ``val_energy_mae`` and so on.
            last: whether the run ends here.
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
        """All lines so far."""
        return self.path.read_text(encoding="utf-8")

    def restore(self, text: str) -> None:
        """Put back the lines up to a checkpoint: later ones are written anew when their epochs are done again."""
        write_file(self.path, text.encode())

    def _print(self, cells: Sequence[str]) -> None:
        widths = [5, 6, 8, 9, 9, *(len(max(heads, key=len)) for heads in zip(self._names, self._titles, strict=True))]
        line = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        self.console.print(line, highlight=False, soft_wrap=True)


def columns(task: TaskSpec) -> list[str]:
    """The header of the file."""
    unit = units(task)
    titles = [f"{name} ({unit[name]})" if unit.get(name) else name for name in ("loss", *unit)]
    return ["epoch", "step", "seconds", "lr", *(f"{split}_{title}" for split in ("train", "val") for title in titles)]


def _line(row: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(row)
    return text.getvalue()

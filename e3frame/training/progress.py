"""A bar that shows how far a run has come, where the output is a terminal."""

from __future__ import annotations

import math
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from e3frame.training.limits import Limits


class ProgressBar(Callback):
    """Follows ``limits.progress()``; lines that are printed on the same console appear above it."""

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
    """Seconds as hours, minutes and seconds.

    >>> clock(59.2), clock(3700), clock(None)
    ('0:01:00', '1:01:40', '-:--:--')
    """
    if seconds is None:
        return "-:--:--"
    whole = math.ceil(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"

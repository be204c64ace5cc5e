"""Watching a training from outside: the metrics of each validation, and the time of a step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from e3frame.training.signals import Interrupted

_FIRST = 5
"""Number of steps at the start that are not timed, because they compile, allocate and fill caches."""


class Observer(Callback):
    """Call a function after each validation, and time the steps.

    Args:
        on_validation: takes the epoch, counted from 1, and the metrics of the validation; what it raises ends the run.

    Attributes:
        interrupted: whether a signal has ended the run.
    """

    def __init__(self, on_validation: Callable[[int, Mapping[str, float]], None]) -> None:
        self.on_validation = on_validation
        self.interrupted = False
        self._began = 0.0
        self._times: list[float] = []

    @property
    def began(self) -> bool:
        """Whether a training step was done."""
        return bool(self._times)

    @property
    def step_ms(self) -> float:
        """Median time of a training step in ms (forward, backward and optimizer); NaN before the first one."""
        return 1e3 * median(self._times[_FIRST:] or self._times or [float("nan")])

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._began = _now(trainer)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._times.append(_now(trainer) - self._began)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val_")}
        self.on_validation(trainer.current_epoch + 1, values)

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        self.interrupted |= isinstance(exception, KeyboardInterrupt | SystemExit | Interrupted)


def _now(trainer: Trainer) -> float:
    """Wait until the device has finished, and return the time in s."""
    if trainer.strategy.root_device.type == "cuda":
        torch.cuda.synchronize(trainer.strategy.root_device)
    return time.perf_counter()

"""When a training ends, and how far it has come."""

from __future__ import annotations

import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from e3frame.config.trainer import TrainerSpec
from e3frame.spec.words import counted

_START_UP = 0.1
"""Share of the time limit during which the time does not count as progress, because the start may be slow."""


def ended(spec: TrainerSpec, steps: int, steps_per_epoch: int, seconds: float) -> str:
    """Say how a training has ended: after all its epochs, or at which limit before.

    >>> ended(TrainerSpec(max_epochs=20), 100, 5, 60.0)
    '20 epochs'
    >>> ended(TrainerSpec(max_epochs=20, max_minutes=1), 27, 5, 60.1)
    'stopped by trainer.max_minutes after 5.4 of 20 epochs'
    >>> ended(TrainerSpec(max_epochs=20, early_stopping_patience=2), 25, 5, 60.0)
    'stopped by trainer.early_stopping_patience after 5 of 20 epochs'
    """
    done = f"{int(10 * steps / steps_per_epoch) / 10:g}"
    if spec.max_epochs is not None and steps >= spec.max_epochs * steps_per_epoch:
        return counted(spec.max_epochs, "epoch")
    if spec.max_steps is not None and steps >= spec.max_steps:
        key = "max_steps"
    elif spec.max_minutes is not None and seconds >= 60.0 * spec.max_minutes:
        key = "max_minutes"
    else:
        key = "early_stopping_patience"
    after = f"{done} epochs" if spec.max_epochs is None else f"{done} of {counted(spec.max_epochs, 'epoch')}"
    return f"stopped by trainer.{key} after {after}"


class Limits(Callback):
    """Stop at the first limit that is reached, after a last validation.

    Args:
        spec: the limits.
        steps_per_epoch: number of batches of the training split.
    """

    def __init__(self, spec: TrainerSpec, steps_per_epoch: int) -> None:
        self.max_seconds = None if spec.max_minutes is None else 60.0 * spec.max_minutes
        steps = [spec.max_steps, None if spec.max_epochs is None else spec.max_epochs * steps_per_epoch]
        self.max_steps = min((number for number in steps if number is not None), default=None)
        self._trainer: Trainer | None = None
        self._earlier, self._started = 0.0, time.monotonic()
        self._agreed: float | None = None
        self._first = 0

    @property
    def steps(self) -> int:
        """Number of steps done."""
        return 0 if self._trainer is None else self._trainer.global_step

    @property
    def seconds(self) -> float:
        """Time spent on training and validation in s, in all sessions of the run together."""
        return self._own_seconds() if self._agreed is None else self._agreed

    def _own_seconds(self) -> float:
        return self._earlier + time.monotonic() - self._started

    def progress(self) -> float:
        """Return the share of the run that is done, from 0 to 1, by the nearest limit.

        If the nearest limit is one of steps, this is a function of the step alone, and the run can be repeated to the
        last bit; if it is the time limit, the run depends on the clock and cannot.
        """
        by_steps = 0.0 if self.max_steps is None else self.steps / self.max_steps
        by_time = 0.0 if self.max_seconds is None else self.seconds / self.max_seconds
        if self.max_steps is not None and by_time < _START_UP:
            by_time = 0.0
        return min(1.0, max(by_steps, by_time))

    def left(self) -> float | None:
        """Estimate the seconds to the nearest limit from the speed of this session; None: not known yet."""
        now, steps = time.monotonic() - self._started, self.steps - self._first
        found = [] if self.max_seconds is None else [self.max_seconds - self.seconds]
        if self.max_steps is not None and steps > 0:
            found.append((self.max_steps - self.steps) * now / steps)
        return max(0.0, min(found)) if found else None

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        self._trainer = trainer

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._started, self._first = time.monotonic(), trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Let processes that train together follow one clock, that of the first."""
        if self.max_seconds is not None and trainer.world_size > 1:
            self._agreed = trainer.strategy.broadcast(self._own_seconds())

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        out_of_steps = self.max_steps is not None and self.steps >= self.max_steps
        out_of_time = self.max_seconds is not None and self.seconds >= self.max_seconds
        if out_of_steps or out_of_time:
            trainer.should_stop = True
            trainer.check_val_every_n_epoch = 1  # the last weights are validated in any case

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._earlier = state["seconds"]

"""Saves and ends a training when a signal comes."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from types import FrameType
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from e3frame.spec.errors import UserError
from e3frame.spec.signals import REQUEUE, came_early, hangup, requeue
from e3frame.training.checkpoints import Checkpoints

_TOO_EARLY = (
    "the job is not requeued, because it would end at the same point: increase --time, or send --signal later\n"
    "  (Slurm may send it up to a minute before the time that --signal says)"
)


class Interrupted(UserError):
    """The run was interrupted; it can be resumed."""


class Signals(Callback):
    """Save and end the run before its next step when a signal comes. A second SIGINT ends it at once.

    The signals are SIGINT, SIGTERM, SIGHUP (the terminal is closed; not under nohup) and, in a Slurm job, SIGUSR1.

    Args:
        checkpoints: saves the run.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.received: signal.Signals | None = None
        self._first = 0
        self._before = {number: signal.getsignal(number) for number in _listened()}

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Set the handlers, after Lightning has set its own, which end a run at once."""
        self._first = trainer.global_step
        self.received = next(iter(came_early()), None)
        for number in self._before:
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, index: int) -> None:
        if not trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            return
        path = self.checkpoints.save(trainer)
        name = "a signal to another process" if self.received is None else self.received.name
        where = f"interrupted by {name} after step {trainer.global_step} (epoch {trainer.current_epoch + 1})"
        if self.received == REQUEUE and trainer.is_global_zero:
            if trainer.global_step == self._first:
                raise Interrupted(f"{where}, before the first step of this session\n  {_TOO_EARLY}")
            _requeue()
        if path is None:
            raise Interrupted(f"{where}\n  no checkpoint has been written yet")
        raise Interrupted(f"{where}\n  run the same command again to resume from {path}")

    def restore(self) -> None:
        """Restore the handlers from before the training."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _listened() -> list[int]:
    """Return the signals to handle; Python allows handlers in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        return []
    return [signal.SIGINT, signal.SIGTERM, *hangup(), *requeue()]


def _requeue() -> None:
    """Let Slurm requeue this job, which runs the same command."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
        if done.returncode != -signal.SIGTERM:  # by which Slurm ends a requeued job, often before scontrol is through
            done.check_returncode()
    except (OSError, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", "") or str(error)
        raise UserError(f"the state is saved, but Slurm did not requeue job {job}: {detail.strip()}") from None

"""Signals that end a run: SIGHUP of a closed terminal, and Slurm's signal before the time limit.

Imports no torch, so that handlers can be installed at once.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

REQUEUE = getattr(signal, "SIGUSR1", None)
"""Signal that Slurm can send before a job's time limit (``--signal=SIGUSR1@90``): the run is saved and requeued."""


def hangup() -> list[signal.Signals]:
    """Return SIGHUP if it is available and not ignored by nohup."""
    number = getattr(signal, "SIGHUP", None)
    return [] if number is None or signal.getsignal(number) == signal.SIG_IGN else [number]


def requeue() -> list[signal.Signals]:
    """Return REQUEUE in the main thread of a Slurm job, else nothing."""
    main = threading.current_thread() is threading.main_thread()
    return [REQUEUE] if main and REQUEUE is not None and "SLURM_JOB_ID" in os.environ else []


class Early:
    """Handler that records a signal until training can handle it."""

    def __init__(self) -> None:
        self.received = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.received = True


def remember() -> None:
    """Record REQUEUE from now on, in a Slurm job."""
    for number in requeue():
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, Early())


def came_early() -> list[signal.Signals]:
    """Return REQUEUE if it arrived before training could handle it."""
    handlers = {number: signal.getsignal(number) for number in requeue()}
    return [number for number, handler in handlers.items() if isinstance(handler, Early) and handler.received]

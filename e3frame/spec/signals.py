"""Signals that ask a run to end: of a terminal that is closed, and of Slurm before the time is up. Imports no torch, so
that they can be listened to from the first moment on."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

REQUEUE = getattr(signal, "SIGUSR1", None)
"""Slurm sends it before the time of a job is up, if asked to (``--signal=SIGUSR1@90``): the run saves itself, and the
job is queued again."""


def hangup() -> list[signal.Signals]:
    """SIGHUP, unless nohup has turned it off, or the system has none."""
    number = getattr(signal, "SIGHUP", None)
    return [] if number is None or signal.getsignal(number) == signal.SIG_IGN else [number]


def requeue() -> list[signal.Signals]:
    """REQUEUE, in the main thread of a process of a Slurm job; nothing elsewhere."""
    main = threading.current_thread() is threading.main_thread()
    return [REQUEUE] if main and REQUEUE is not None and "SLURM_JOB_ID" in os.environ else []


class Early:
    """A handler that remembers the signal, which would end the process, until the training can answer it."""

    def __init__(self) -> None:
        self.received = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.received = True


def remember() -> None:
    """Remember REQUEUE from now on, in a Slurm job."""
    for number in requeue():
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, Early())


def came_early() -> list[signal.Signals]:
    """REQUEUE, if it came before the training listened."""
    handlers = {number: signal.getsignal(number) for number in requeue()}
    return [number for number, handler in handlers.items() if isinstance(handler, Early) and handler.received]

"""Slurm's signal that the time is nearly up, from the first moment of a run on."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

REQUEUE = getattr(signal, "SIGUSR1", None)
"""What Slurm is told to send before the time is up (``--signal=SIGUSR1@90``): the job is saved and queued again."""


def in_slurm() -> bool:
    """Whether this is the process of a Slurm job, in the thread that may listen."""
    main = threading.current_thread() is threading.main_thread()
    return main and REQUEUE is not None and "SLURM_JOB_ID" in os.environ


class Early:
    """A handler that remembers the signal, which would end the process, until the training can answer it."""

    def __init__(self) -> None:
        self.received = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.received = True


def remember() -> None:
    """Remember the signal from now on, in a Slurm job."""
    if in_slurm() and signal.getsignal(REQUEUE) is signal.SIG_DFL:
        signal.signal(REQUEUE, Early())


def came_early() -> bool:
    """Whether it has come already."""
    handler = signal.getsignal(REQUEUE) if in_slurm() else None
    return isinstance(handler, Early) and handler.received

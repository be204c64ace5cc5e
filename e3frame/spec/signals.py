"""The signal of a terminal that is closed."""

from __future__ import annotations

import signal


def hangup() -> list[signal.Signals]:
    """SIGHUP, unless nohup has turned it off, or the system has none."""
    number = getattr(signal, "SIGHUP", None)
    return [] if number is None or signal.getsignal(number) == signal.SIG_IGN else [number]

"""Peak memory of a call, on Linux, for benchmarks of e3frame and of packages in other environments."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path


def peak_of_steps(run: Callable[[], object], steps: int = 5) -> float:
    """MiB above what the process holds before the first step, without what building has freed and not given back.
    Pages of libraries' files are left out, which the first step reads in: they are what importing costs. On Linux
    alone, which can forget an earlier peak."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _memory("RssAnon")
    for _ in range(steps):
        run()
    return (_memory("VmHWM") - _memory("RssFile") - before) / 1024


def _memory(what: str) -> float:
    """KiB, by the kernel's account of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(what)))

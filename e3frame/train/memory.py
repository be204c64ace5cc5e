"""How the process holds its memory."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3) of glibc
_KEPT = 1 << 30
_LARGEST = 1 << 25  # more is refused


def keep_freed_memory() -> None:
    """Let the process keep up to 1 GiB that it has freed. A training step allocates what the one before it has freed;
    glibc would give it back to the system in between, and fetch it again page by page.

    Does nothing where there is no glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_TRIM_THRESHOLD, _KEPT)
    mallopt(_MMAP_THRESHOLD, _LARGEST)

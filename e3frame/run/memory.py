"""How the process holds its memory."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # mallopt(3) of glibc


def keep_freed_memory() -> None:
    """Let the process keep what it has freed. A training step allocates what the one before it has freed; glibc would
    give it back to the system in between, and fetch it again page by page, which takes longer than to compute what is
    written there. The price is that large tensors share a heap, with some room between them.

    Does nothing where there is no glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_TRIM_THRESHOLD, -1)  # never
    mallopt(_MMAP_MAX, 0)

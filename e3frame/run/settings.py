"""How this process computes during a run: random seed, threads, and the memory that it keeps."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning import seed_everything

from e3frame.config.run import RunConfig

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # mallopt(3) of glibc


@contextmanager
def settings(config: RunConfig) -> Iterator[None]:
    """Seed the random numbers and set the number of threads; what was set before is restored at the end."""
    keep_freed_memory()
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        seed_everything(config.seed, workers=True, verbose=False)
        torch.set_num_threads(config.trainer.num_threads or threads)
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


def keep_freed_memory() -> None:
    """Let the process keep the memory that it frees, for good.

    A training step allocates what the step before has freed. Between the two, glibc would return it to the system and
    fetch it again page by page, which takes longer than the computation. The price is that large tensors share a heap,
    with gaps between them. Without glibc this does nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_TRIM_THRESHOLD, -1)  # never
    mallopt(_MMAP_MAX, 0)

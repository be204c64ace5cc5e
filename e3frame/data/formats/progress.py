"""Progress bar for long tasks on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress


@contextmanager
def progress(what: str, total: float | None, wanted: bool = True) -> Iterator[Callable[[float], None]]:
    """Show a progress bar until the end of the block; call the result with the amount done of ``total`` (None:
    unknown)."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (wanted and console.is_terminal)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)

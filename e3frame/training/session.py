"""One session of a run: what is trained, where, and who watches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch.callbacks import Callback
from rich.console import Console

from e3frame.config.run import RunConfig, TypedRun
from e3frame.training.checkpoint import Checkpoint
from e3frame.training.processes import rank


@dataclass(frozen=True)
class Session:
    """From the start of a run, or from a checkpoint, to its end or to an interruption.

    Attributes:
        typed: the run, its model resolved.
        folder: holds everything that the run writes.
        console: shows the progress.
        start: the checkpoint to continue from; None: the run begins.
        observers: further callbacks of Lightning's; what they raise ends the run.
    """

    typed: TypedRun
    folder: Path
    console: Console
    start: Checkpoint | None = None
    observers: Sequence[Callback] = ()

    @property
    def config(self) -> RunConfig:
        """The run config, its model resolved."""
        return self.typed.config

    @property
    def writes(self) -> bool:
        """Whether this process writes into the folder: the first of those that train together."""
        return rank(self.config.trainer) == 0


def say(console: Console, *lines: str) -> None:
    """Print each line unchanged: without wrapping, colours or markup."""
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)

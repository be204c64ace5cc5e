"""Runs that are stopped in the middle of a step. A conftest imports the fixtures it needs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.runs import run
from torch import Tensor
from torch_geometric.data import Batch

from e3frame.config.run import RunConfig
from e3frame.training.module import Training
from e3frame.training.signals import Interrupted


@pytest.fixture
def console() -> Console:
    return Console(quiet=True)


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], Any]], None]:
    """``at_step(7, act)``: call ``act`` in the middle of the step after so many."""
    original = Training.training_step

    def arrange(step: int, act: Callable[[], Any]) -> None:
        def training_step(self: Training, batch: Batch, index: int) -> Tensor:
            if self.global_step == step:
                monkeypatch.setattr(Training, "training_step", original)
                act()
            return original(self, batch, index)

        monkeypatch.setattr(Training, "training_step", training_step)

    return arrange


def kill(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def interrupted(config: RunConfig, folder: Path, console: Console) -> str:
    with pytest.raises(Interrupted) as caught:
        run(config, folder, console)
    return str(caught.value)

"""How a run ends, and when it will: said on the screen, in metrics.json and in the report, in the same words."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from support.runs import MakeConfig, run

from e3frame.config.trainer import TrainerSpec
from e3frame.training.journal import clock
from e3frame.training.limits import Limits, ended


def test_the_limit_that_ended_a_run_is_named(make_config: MakeConfig, tmp_path: Path) -> None:
    """Also where the run is only evaluated anew."""
    words = "stopped by trainer.max_steps after 1.4 of 3 epochs"
    for session in range(2):
        screen = io.StringIO()
        run(make_config({"trainer.max_steps": 7}), tmp_path, Console(file=screen, width=100))
        assert f"\n{words} in " in screen.getvalue()
        assert json.loads((tmp_path / "metrics.json").read_text())["run"]["ended"] == words
        assert f", {words} (7 steps) in " in (tmp_path / "report.html").read_text()
        assert len(list((tmp_path / "checkpoints").iterdir())) == 2, session
        (tmp_path / "metrics.json").unlink()


@pytest.mark.parametrize(
    ("limits", "steps", "seconds", "expected"),
    [
        ({"max_epochs": 20}, 100, 99.0, "20 epochs"),
        ({"max_epochs": 1}, 5, 99.0, "1 epoch"),
        ({"max_epochs": 20, "max_steps": 100, "max_minutes": 1}, 100, 99.0, "20 epochs"),
        ({"max_epochs": 20, "max_minutes": 1}, 25, 60.1, "stopped by trainer.max_minutes after 5 of 20 epochs"),
        ({"max_epochs": 20, "max_minutes": 1}, 29, 60.1, "stopped by trainer.max_minutes after 5.8 of 20 epochs"),
        ({"max_epochs": None, "max_minutes": 1}, 25, 60.1, "stopped by trainer.max_minutes after 5 epochs"),
        (
            {"max_epochs": None, "max_steps": 25, "max_minutes": 1},
            25,
            9.0,
            "stopped by trainer.max_steps after 5 epochs",
        ),
        (
            {"max_epochs": 20, "max_minutes": 1, "early_stopping_patience": 3},
            *(25, 9.0, "stopped by trainer.early_stopping_patience after 5 of 20 epochs"),
        ),
    ],
)
def test_every_end(limits: dict, steps: int, seconds: float, expected: str) -> None:
    assert ended(TrainerSpec(**limits), steps, 5, seconds) == expected


@pytest.mark.parametrize(
    ("limits", "first", "steps", "session", "earlier", "left"),
    [
        ({"max_epochs": 10}, 0, 50, 50.0, 0.0, 50.0),
        ({"max_epochs": 10}, 40, 50, 50.0, 999.0, 250.0),  # what an earlier session did in its time says nothing
        ({"max_epochs": 10, "max_minutes": 1}, 0, 50, 50.0, 0.0, 10.0),
        ({"max_epochs": 10, "max_minutes": 10}, 0, 50, 50.0, 0.0, 50.0),
        ({"max_epochs": 10, "max_minutes": 10}, 40, 50, 50.0, 520.0, 30.0),
        ({"max_epochs": None, "max_minutes": 10}, 0, 0, 50.0, 0.0, 550.0),
        ({"max_epochs": 10}, 0, 0, 50.0, 0.0, None),
        ({"max_epochs": 10, "max_steps": 60}, 0, 50, 50.0, 0.0, 10.0),
    ],
)
def test_the_time_left_is_that_to_the_nearest_limit(
    limits: dict, first: int, steps: int, session: float, earlier: float, left: float | None
) -> None:
    watched = Limits(TrainerSpec(**limits), steps_per_epoch=10)
    watched.load_state_dict({"seconds": earlier})
    watched.setup(trainer := SimpleNamespace(global_step=first), None, "fit")
    watched.on_train_start(trainer, None)
    trainer.global_step, watched._started = steps, time.monotonic() - session
    found = watched.left()
    assert found is None if left is None else found == pytest.approx(left, abs=1.0)
    assert clock(left) == ("-:--:--" if left is None else f"0:{int(left) // 60:02d}:{int(left) % 60:02d}")

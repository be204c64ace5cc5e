"""Checkpoints whose digest is right, with values that no training writes."""

from __future__ import annotations

import copy
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from support.runs import Finished, MakeConfig, run

from e3frame.config.run import RunConfig
from e3frame.run.form import require_form
from e3frame.spec.errors import UserError
from e3frame.spec.validate import validate
from e3frame.training.checkpoint import Checkpoint, Damaged, read_checkpoint, write_checkpoint
from e3frame.training.weights import Averaged

OPTIMIZER = "optimizer_states.0"
WRONG = [
    (f"{OPTIMIZER}.state.2.step", -3, r"optimizer state 'step' of 'layers\.[\w.]+' is -3; must be at least 0"),
    (f"{OPTIMIZER}.state.0.step", 16, r"optimizer state 'step' of 'layers\.[\w.]+' is 16; must be at most 15"),
    (f"{OPTIMIZER}.state.0.step", float("nan"), r"its optimizer_states\.0\.state\.0\.step does not fit .*"),
    (f"{OPTIMIZER}.state.0.exp_avg_sq", -1.5, r"optimizer state 'exp_avg_sq' of 'layers\.[\w.]+' is -1\.5; .* least 0"),
    (f"{OPTIMIZER}.state.0.exp_avg", float("inf"), r"its optimizer_states\.0\.state\.0\.exp_avg does not fit .*"),
    (f"{OPTIMIZER}.param_groups.0.lr", -0.1, "'lr' of optimizer group 0 is -0.1; must be at least 0"),
    ("state_dict.average.n_averaged", -1, r"average\.n_averaged is -1; must be at least 0"),
    ("callbacks.Limits.seconds", -60.0, r"callbacks\.Limits\.seconds is -60; must be at least 0"),
    ("train_errors.0", -1.0, r"the count in train_errors\.0 is -1; must be at least 0"),
    ("global_step", -1, "its global_step does not fit this training"),
    ("epoch", -1, "its epoch does not fit this training"),
]


@pytest.fixture(scope="module")
def checkpoint(finished: Finished) -> Checkpoint:
    return read_checkpoint(finished.folder / "checkpoints" / "step-000000015.ckpt")


def _replaced(state: dict[str, Any], place: str, value: float) -> dict[str, Any]:
    """The state with a number, or all numbers of a tensor, replaced."""
    state = copy.deepcopy(state)
    *parents, last = place.replace("average.n", "average+n").split(".")
    inner: Any = state
    for key in parents:
        inner = inner[int(key)] if key.isdecimal() else inner[key]
    key = int(last) if last.isdecimal() else last.replace("+", ".")
    inner[key] = torch.full_like(inner[key], value) if isinstance(inner[key], torch.Tensor) else value
    return state


@pytest.mark.parametrize(("place", "value", "message"), WRONG, ids=[f"{place}={value}" for place, value, _ in WRONG])
def test_values_that_no_training_writes(checkpoint: Checkpoint, place: str, value: float, message: str) -> None:
    config = validate(RunConfig, checkpoint.config)
    model = config.model.build()
    average = Averaged(model, config.trainer.ema_decay)
    require_form(checkpoint.state, model, average, config)
    with pytest.raises(Damaged) as caught:
        require_form(_replaced(checkpoint.state, place, value), model, average, config)
    assert re.fullmatch(message, str(caught.value))


def test_a_run_names_the_checkpoint(
    finished: Finished, make_config: MakeConfig, tmp_path: Path, without_figures: None
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    (folder / "metrics.json").unlink()
    newest = folder / "checkpoints" / "step-000000015.ckpt"
    found = read_checkpoint(newest)
    wrong = _replaced(found.state, f"{OPTIMIZER}.state.2.step", -3)
    write_checkpoint(newest, wrong, found.config, found.done)
    said = r"optimizer state 'step' of 'layers\.[\w.]+' is -3; must be at least 0"
    with pytest.raises(UserError, match=rf"^ckpt={newest}\n  not a checkpoint of e3frame: {said}$"):
        run(make_config({"ckpt": str(newest)}), tmp_path / "other", Console(quiet=True))
    console = Console(record=True, width=200, quiet=False, file=(tmp_path / "screen").open("w"))
    run(make_config(), folder, console)
    assert re.search(rf"{newest} is damaged: {said}; using the previous checkpoint\n", console.export_text())

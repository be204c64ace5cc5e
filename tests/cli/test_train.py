"""Runs from the command line that stop, go on, and come in numbers."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from torch import Tensor
from torch_geometric.data import Batch

from e3frame.cli import main
from e3frame.cli.grid import comparison
from e3frame.training.module import Training

Train = Callable[..., int]


@pytest.fixture
def train(cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """``train("folder=a")``: the smoke experiment in an empty folder, with overrides."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    common = ["experiment=smoke", "model=schnet_like", "model.irreps.hidden=4x0e", f"data.cache_dir={cache}"]
    return lambda *overrides: main(["train", *common, *overrides])


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """The next run gets SIGTERM in the middle of a step."""
    original = Training.training_step

    def arrange(step: int) -> None:
        def training_step(self: Training, batch: Batch, index: int) -> Tensor:
            if self.global_step == step:
                monkeypatch.setattr(Training, "training_step", original)
                os.kill(os.getpid(), signal.SIGTERM)
            return original(self, batch, index)

        monkeypatch.setattr(Training, "training_step", training_step)

    return arrange


def test_the_same_command_in_the_same_folder(
    train: Train, stop_at: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    stop_at(1)
    assert train("folder=mine") == 1
    assert capsys.readouterr().err == (
        "interrupted by SIGTERM after step 2 (epoch 2)\n"
        "  run the same command again to resume from mine/checkpoints/step-000000002.ckpt\n"
    )
    assert train("folder=mine") == 0
    assert "resuming from mine/checkpoints/step-000000002.ckpt" in capsys.readouterr().out
    assert train("folder=mine") == 0
    assert capsys.readouterr().out == "mine: this run is already finished\n"
    assert train("folder=mine", "optimizer.lr=0.5") == 1
    assert capsys.readouterr().err == (
        "mine belongs to a run with another config\n  optimizer.lr: 0.04 there, 0.5 here\n"
        "  choose another folder, or use the same config\n"
    )
    assert main(["train", "mine"]) == 0
    assert capsys.readouterr().out == "mine: this run is already finished\n"


def test_the_last_run_of_a_name(
    train: Train, stop_at: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("ckpt=last") == 1
    assert capsys.readouterr().err == ("ckpt=last: runs/smoke has no run\n  give name= or folder= of the run\n")
    stop_at(1)
    assert train() == 1
    capsys.readouterr()
    assert train("ckpt=last") == 0
    (folder,) = Path("runs/smoke").iterdir()
    assert f"resuming from {folder}/checkpoints/step-000000002.ckpt" in capsys.readouterr().out.replace("\n", "")
    assert (folder / "metrics.json").exists()


def test_a_folder_alone_goes_on(
    train: Train, stop_at: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    stop_at(1)
    assert train("folder=mine") == 1
    capsys.readouterr()
    assert main(["train", "mine"]) == 0
    assert "resuming from mine/checkpoints/step-000000002.ckpt" in capsys.readouterr().out
    assert Path("mine/metrics.json").exists()


def test_a_finished_run_goes_on_for_longer(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("folder=runs/mine", "trainer.max_epochs=2") == 0
    capsys.readouterr()
    assert main(["train", "runs/mine", "trainer.max_epochs=3"]) == 0
    assert "resuming from" in capsys.readouterr().out
    assert main(["train", "runs/mine"]) == 0
    assert capsys.readouterr().out == "runs/mine: this run is already finished\n"
    for lower in ("trainer.max_epochs=2", "trainer.max_minutes=0.1"):
        assert main(["train", "runs/mine", lower]) == 1
        said = capsys.readouterr().err
        assert said.startswith(
            "runs/mine: this run is already finished; it continues only with a higher limit\n  trainer.max_"
        )
    assert yaml.safe_load(Path("runs/mine/config.yaml").read_text())["trainer"]["max_epochs"] == 3


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_many_runs(launcher: str, train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    """Hydra's launchers on this machine; the same command again finds all of them finished."""
    arguments = ["-m", "folder=many", "seed=1,2", "trainer.max_epochs=1", f"hydra/launcher={launcher}"]
    if launcher == "joblib":
        arguments.append("hydra.launcher.n_jobs=1")
    assert train(*arguments) == 0
    assert sorted(str(path) for path in Path("many").rglob("metrics.json")) == [
        "many/0/metrics.json",
        "many/1/metrics.json",
    ]
    assert _compared(capfd.readouterr().out)
    assert train(*arguments) == 0
    said = capfd.readouterr().out
    assert said.count(": this run is already finished") == 2
    assert _compared(said)
    console = Console(width=80, file=io.StringIO())
    console.print(comparison([Path("many/0"), Path("many/2")], [["seed=0", "a=b"], ["a=b", "seed=2"]]))
    assert console.file.getvalue().split()[-4:] == ["2", "seed=2", "no", "result"]


def _compared(said: str) -> bool:
    """Whether the output ends with the errors of both runs, as their files have them."""
    errors = [json.loads(Path(f"many/{k}/metrics.json").read_text())["test"] for k in (0, 1)]
    title, header, *rows = said.rstrip().splitlines()[-4:]
    units = [f"{name} ({errors[0][name]['unit']})" for name in ("energy", "forces")]
    expected = [[str(k), f"seed={k + 1}", *(errors[k][name]["mae"] for name in ("energy", "forces"))] for k in (0, 1)]
    found = [[run, seed, *map(float, values)] for run, seed, *values in map(str.split, rows)]
    assert title.strip() == "MAE on the test frames"
    assert re.split(r" {2,}", header.strip()) == ["run", "overrides", *units]
    return found == [[run, seed, *(pytest.approx(v, rel=1e-3) for v in values)] for run, seed, *values in expected]


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local", "submitit_slurm"])
def test_every_launcher_composes(launcher: str) -> None:
    from hydra import compose, initialize_config_dir

    from e3frame.compose import config_folder

    with initialize_config_dir(str(config_folder().resolve()), version_base="1.3"):
        config = compose("config", [f"hydra/launcher={launcher}", "hydra.sweep.dir=x"], return_hydra_config=True)
    assert "Launcher" in config.hydra.launcher._target_

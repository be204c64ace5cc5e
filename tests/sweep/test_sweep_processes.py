"""Searches as a user runs them, in processes that are killed: nothing is lost, and nothing counted twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.trial import FrozenTrial, TrialState

from e3frame.cli import main
from e3frame.compose import config_folder

SCRIPT = config_folder().parent / "scripts" / "sweep.py"
SPACE = """\
name: mine
overrides:
  - experiment=smoke
  - model=nequip_small
  - model.irreps.edge=0e + 1o
  - trainer.num_threads=1
space:
  optimizer.lr: {low: 1.0e-3, high: 1.0e-1, log: true}
  model.irreps.hidden: {irreps: {mul: [4, 8], l_max: [0, 1, 2]}}
objectives: [val_forces_mae]
sampler: {kind: random, seed: 3}
trials: 3
heartbeat: 1
retries: 50
"""
KILLS = int(os.environ.get("KILLS", "2"))
"""Of a whole search, one after another."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine" / "sweep").mkdir(parents=True)
    (tmp_path / "mine" / "sweep" / "mine.yaml").write_text(SPACE, encoding="utf-8")
    return tmp_path


@pytest.fixture
def start(cache: str, folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """``start(overrides)``: the search in a process, which ends with the test."""
    started: list[subprocess.Popen[str]] = []
    common = ["--config-dir", "mine", "sweep=mine", f"data.cache_dir={cache}"]

    def process(*overrides: str) -> subprocess.Popen[str]:
        begun = subprocess.Popen(
            [sys.executable, str(SCRIPT), *common, *overrides],
            cwd=folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        started.append(begun)
        return begun

    yield process
    for begun in started:
        begun.kill()
        begun.wait()
        begun.stdout.close()


def trials_of(folder: Path, name: str = "mine") -> list[FrozenTrial]:
    made = folder / "runs" / name
    if not (made / "worker_0.log").exists():  # the study is made before the worker
        return []
    return optuna.load_study(study_name=name, storage=f"sqlite:///{made / 'study.db'}").get_trials()


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.1)


def pid(trial: FrozenTrial) -> int:
    return int(trial.user_attrs["worker"].partition(":")[2])


def training(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.state == TrialState.RUNNING and "config" in trial.user_attrs]


def results(trials: Sequence[FrozenTrial]) -> dict[str, list[float]]:
    """Values of each point; a list, so that a point that was counted twice shows."""
    found: dict[str, list[float]] = {}
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            found.setdefault(str(sorted(trial.params.items())), []).extend(trial.values)
    return found


def test_two_workers_of_which_one_is_killed(start: Callable[..., subprocess.Popen[str]], folder: Path) -> None:
    process = start("sweep.workers=2", "trainer.max_epochs=8")
    wait_for(lambda: len(training(trials_of(folder))) == 2)
    victim = training(trials_of(folder))[0]
    os.kill(pid(victim), signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "was killed by signal 9; starting a new one" in output
    trials = trials_of(folder)
    assert trials[victim.number].state == TrialState.FAIL
    (retried,) = [trial for trial in trials if trial.user_attrs.get("origin") == victim.number]
    assert (retried.state, retried.params) == (TrialState.COMPLETE, victim.params)
    assert [len(values) for values in results(trials).values()] == [1, 1, 1]
    assert "3 of 3 trials" in output
    refused = [trial for trial in trials if trial.user_attrs.get("outcome") == "refused"]
    assert all("out of reach" in trial.user_attrs["reason"] for trial in refused)
    assert all(trial.params["model.irreps.hidden.l_max"] == 2 for trial in refused)
    assert not any((folder / "runs" / "mine" / "trials" / f"{trial.number:04d}").exists() for trial in refused)


def test_a_search_killed_again_and_again_ends_like_one_that_was_not(
    start: Callable[..., subprocess.Popen[str]], folder: Path
) -> None:
    whole = start("sweep.name=whole")
    output, _ = whole.communicate(timeout=120)
    assert whole.returncode == 0, output
    moments = random.Random(0)
    for _ in range(KILLS):
        known = len(trials_of(folder))
        process = start()
        wait_for(lambda known=known: len(trials_of(folder)) > known)
        time.sleep(moments.uniform(0.0, 3.0))
        workers = [
            pid(trial)
            for trial in trials_of(folder)
            if trial.state == TrialState.RUNNING and "worker" in trial.user_attrs
        ]
        process.kill()
        process.communicate()
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
    process = start()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    expected = results(trials_of(folder, "whole"))
    assert len(expected) == 3
    assert results(trials_of(folder)) == expected
    assert start().wait(60) == 0
    assert results(trials_of(folder)) == expected


def test_sigterm_lets_the_trial_wait(start: Callable[..., subprocess.Popen[str]], folder: Path) -> None:
    process = start("trainer.max_epochs=2000")
    wait_for(
        lambda: bool(training(trials_of(folder))) and training(trials_of(folder))[0].user_attrs.get("epoch", 0) > 0
    )
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; run the same command again to resume the search" in output
    *_, ended, waiting = trials_of(folder)
    assert (ended.state, waiting.state) == (TrialState.FAIL, TrialState.WAITING)
    assert waiting.user_attrs == {"origin": ended.number, "deaths": 0}


def test_the_best_run_can_be_made_again(
    start: Callable[..., subprocess.Popen[str]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With several objectives, pruning, and TPE; then another objective is refused."""
    more = ["sweep.objectives=[val_forces_mae,step_ms]", "sweep.sampler={kind: tpe, startup_trials: 2}"]
    more += ["+sweep.pruner={kind: median, startup_trials: 1}", "sweep.trials=4", "trainer.max_epochs=3"]
    process = start(*more)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    results_of = folder / "runs" / "mine"
    names = {path.name for path in results_of.iterdir()}
    assert {"best.yaml", "sweep.html", "history.png", "error_against_cost.png", "study.db", "trials"} <= names
    page = (results_of / "sweep.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len([name for name in names if name.endswith(".png")])
    assert "http" not in page.replace("data:image", "")
    complete = [trial for trial in trials_of(folder) if trial.state == TrialState.COMPLETE]
    assert all(trial.values[1] == trial.user_attrs["step_ms"] > 0 for trial in complete)
    best = min(complete, key=lambda trial: trial.values[0])
    monkeypatch.chdir(folder)
    assert main(["train", "runs/mine/best.yaml"]) == 0
    (again,) = (folder / "runs" / "mine_best").iterdir()
    first = results_of / "trials" / f"{best.number:04d}"
    assert (again / "model.safetensors").read_bytes() == (first / "model.safetensors").read_bytes()
    assert yaml.safe_load((again / "config.yaml").read_text())["seed"] == 0
    capsys.readouterr()
    assert main(["sweep", "--config-dir", "mine", "sweep=mine", "trainer.max_epochs=3"]) == 1
    assert capsys.readouterr().err == (
        "the study mine has other settings\n"
        "  objectives is ['val_forces_mae', 'step_ms'] there, ['val_forces_mae'] here\n"
        "  choose another sweep.name, or restore this setting\n"
    )

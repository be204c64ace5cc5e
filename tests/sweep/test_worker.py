"""What a worker does with each kind of point, with a training that takes no time."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console
from support.searches import Setup

from e3frame.compose import typed_run
from e3frame.config.run import RunConfig
from e3frame.spec.errors import DataError, UserError
from e3frame.sweep import worker
from e3frame.sweep.attempt import Failed, Interrupted
from e3frame.sweep.study import Search
from e3frame.sweep.table import summary, trial_table
from e3frame.sweep.trials import Trial

LR = {"low": 1e-3, "high": 1e-1, "log": True}


def test_the_budget_in_trials_over_two_sessions(setup: Callable[..., Setup]) -> None:
    one = setup(trials=3)
    assert [trial.outcome for trial in one.work()] == ["complete"] * 3
    assert len(one.work()) == 3
    more = setup(trials=5)
    trials = more.work()
    assert [trial.number for trial in trials] == [0, 1, 2, 3, 4]
    assert len({trial.values for trial in trials}) == 5
    assert all(trial.values == (trial.point["optimizer.lr"],) for trial in trials)


def test_the_budget_in_hours(setup: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch) -> None:
    one = setup(trials=None, hours=1.0)
    search = one.search()
    counted = [Trial(number, "complete", {}, (1.0,), seconds=1700.0) for number in range(2)]
    assert search.has_room(counted)
    assert not search.is_over(counted)
    assert search.is_over([*counted, Trial(2, "pruned", {}, seconds=300.0)])
    assert not search.is_over([*counted, Trial(2, "dead", {}, seconds=9000.0)])
    monkeypatch.setattr(Search, "out_of_time", lambda self, trials: len(trials) >= 2)
    assert len(one.work(search)) == 2


def test_what_is_too_large_is_refused_and_does_not_count(setup: Callable[..., Setup]) -> None:
    trials = setup(
        space={"optimizer.lr": LR, "model.irreps.hidden": ["4x0e", "64x0e"]}, trials=4, max_parameters=10_000
    ).work()
    refused = [trial for trial in trials if trial.outcome == "refused"]
    assert sum(trial.outcome == "complete" for trial in trials) == 4
    assert refused
    assert all(trial.reason.endswith(" parameters, more than 10,000") for trial in refused)
    assert all(trial.point["model.irreps.hidden"] == "64x0e" and trial.config is None for trial in refused)


def test_what_is_ill_typed_is_refused(setup: Callable[..., Setup]) -> None:
    trials = setup(space={"optimizer.lr": LR, "model.irreps.hidden": ["4x0e", "4x3o"]}, trials=4).work()
    refused = [trial for trial in trials if trial.outcome == "refused"]
    assert refused
    assert {trial.reason for trial in refused} == {
        "model.layers.first_conv.irreps_out: 4x3o is out of reach: 'species' (16x0e) ⊗ 'edge_sh' (1x0e+1x1o+1x2e) "
        "gives 0e, 1o, 2e"
    }


def test_a_diverged_run_counts_and_five_in_a_row_end_the_search(setup: Callable[..., Setup]) -> None:
    one = setup(trials=8)

    def diverge(config: RunConfig, trial: optuna.Trial) -> Sequence[float]:
        raise Failed("the loss is not finite at step 3")

    one.train = diverge
    search = one.search()
    with pytest.raises(UserError) as caught:
        one.work(search)
    assert str(caught.value) == "5 trials in a row failed\n  the loss is not finite at step 3"
    assert [(trial.outcome, trial.counts) for trial in search.trials()] == [("failed", True)] * 5


def test_wrong_data_end_the_search_and_do_not_count(setup: Callable[..., Setup]) -> None:
    one = setup()

    def unreadable(config: RunConfig, trial: optuna.Trial) -> Sequence[float]:
        raise DataError("no forces", file="a.xyz", frame=3)

    one.train = unreadable
    search = one.search()
    with pytest.raises(DataError):
        one.work(search)
    assert [(trial.outcome, trial.counts) for trial in search.trials()] == [("dead", False)]


def test_an_interrupted_trial_is_the_next_one(setup: Callable[..., Setup]) -> None:
    one = setup(trials=2)

    def interrupt(config: RunConfig, trial: optuna.Trial) -> Sequence[float]:
        raise Interrupted

    one.train, whole = interrupt, one.train
    search = one.search()
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            one.work(search)
    one.train = whole
    trials = one.work(search)
    assert [trial.outcome for trial in trials] == ["dead"] * 5 + ["complete"] * 2
    assert len({trial.point["optimizer.lr"] for trial in trials[:6]}) == 1


def test_a_point_that_kills_its_process_is_given_up(setup: Callable[..., Setup]) -> None:
    one = setup(trials=1, retries=2)
    search = one.search()
    point = {"optimizer.lr": 0.05}
    search.study.enqueue_trial(point)
    for _ in range(3):
        trial = search.study.ask()
        assert trial.suggest_float("optimizer.lr", 1e-3, 1e-1, log=True) == 0.05
        search.study.tell(trial, state=TrialState.FAIL)
        search.retry(search.study.trials[-1], 1)
    assert [trial.outcome for trial in search.trials()] == ["dead", "dead", "given up"]
    assert search.is_over(search.trials())


def test_the_last_place_is_given_once(setup: Callable[..., Setup]) -> None:
    """Two workers that saw one free place: the later trial is withdrawn."""
    one = setup(trials=1)
    search = one.search()

    def another_begins(config: RunConfig, trial: optuna.Trial) -> Sequence[float]:
        later = search.study.ask()
        mine = worker.Worker(search, lambda overrides: typed_run(one.composer.compose(overrides)), one.base, 1, 0)
        with pytest.raises(worker._Withdrawn):
            mine._trial(later)
        search.study.tell(later, state=TrialState.FAIL)
        return [1.0]

    one.train = another_begins
    assert [trial.outcome for trial in one.work(search)] == ["complete", "withdrawn"]


def test_the_table_fits_a_narrow_and_a_wide_terminal(setup: Callable[..., Setup]) -> None:
    one = setup(space={"optimizer.lr": LR, "model.irreps.hidden": ["4x0e", "4x3o"]}, trials=6)
    trials = one.work()
    for width in (80, 140):
        console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
        console.print(trial_table(trials, one.spec, rows=5))
        text = console.export_text()
        assert "6 of 6 trials" in text
        assert "val_loss" in text
        assert "lr 0.0" in text
    best = min((trial for trial in trials if trial.values), key=lambda trial: trial.values)
    assert summary(trials, one.spec).endswith(f"(trial {best.number})")


def test_two_machines_share_a_storage(setup: Callable[..., Setup], tmp_path: Path) -> None:
    one = setup(storage=f"sqlite:///{tmp_path / 'shared.db'}", trials=3)
    searches = []
    for machine in ("first", "second"):
        one.folder = tmp_path / machine
        searches.append(one.search())
    assert len(one.work(searches[0])) == 3
    assert [trial.number for trial in searches[1].trials()] == [0, 1, 2]
    assert searches[1].is_over(searches[1].trials())
    assert not list(tmp_path.glob("*/study.db"))


@pytest.mark.parametrize("name", ["best.yaml", "sweep.html", "history.png", "worker_0.log", "trials/0000/log.txt"])
def test_a_new_search_writes_over_nothing(name: str, setup: Callable[..., Setup], tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("not of this search")
    held = name.removesuffix("/log.txt")
    with pytest.raises(UserError) as caught:
        setup().search()
    assert str(caught.value) == (
        f"{tmp_path} already contains {held} but no search\n  choose another sweep.name, or move them away"
    )
    assert (tmp_path / name).read_text() == "not of this search"


def test_the_database_of_another_program_is_left_alone(setup: Callable[..., Setup], tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "study.db")) as other:
        other.execute("CREATE TABLE mine (value)")
    content = (tmp_path / "study.db").read_bytes()
    with pytest.raises(
        UserError, match=r"study.db\n  this database belongs to another program\n  choose another sweep.name"
    ):
        setup().search()
    assert (tmp_path / "study.db").read_bytes() == content
    (tmp_path / "study.db").write_text("no database at all, but a text of some length" * 20)
    with pytest.raises(UserError, match=r"study.db\n  not the database of a search: file is not a database"):
        setup().search()

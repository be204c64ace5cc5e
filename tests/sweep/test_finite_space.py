"""Spaces that have an end: every point once, and then the search is over."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from rich.console import Console
from support.searches import Setup

from e3frame.cli.sweep import _lead
from e3frame.config.run import RunConfig
from e3frame.spec.errors import UserError
from e3frame.spec.validate import validate
from e3frame.sweep.launch import Launcher
from e3frame.sweep.space import Points
from e3frame.sweep.spec import SweepSpec
from e3frame.sweep.table import ending

LRS = [0.1, 0.2, 0.3]
SPACES: dict[str, tuple[dict[str, Any], int | None]] = {
    "choices": ({"a": ["x", None, [1, 2]]}, 3),
    "equal to Optuna": ({"a": [1, True, 1.0, "x"]}, 4),
    "integers": ({"a": {"low": 2, "high": 8, "step": 4}}, 2),
    "integers, log": ({"a": {"low": 1, "high": 16, "log": True}}, 16),
    "steps": ({"a": {"low": 0.0, "high": 0.35, "step": 0.1}}, 4),
    "irreps": ({"a": {"irreps": {"mul": [4, 8, 4], "l_max": [1, 2], "parity": [True]}}}, 4),
    "one": ({"a": ["x"]}, 1),
    "a product": ({"a": ["x", "y"], "b": {"low": 1, "high": 3}}, 6),
    "no end": ({"a": ["x", "y"], "b": {"low": 1.0, "high": 3.0}}, None),
    "too many": ({"a": {"low": 0, "high": 10**12}}, None),
}


@pytest.mark.parametrize("case", SPACES)
def test_points_are_counted_as_optuna_knows_them(case: str) -> None:
    space, size = SPACES[case]
    spec = validate(SweepSpec, {"name": "one", "space": space})
    points = Points.of(spec.space)
    assert (None if points is None else points.size) == size
    if points is None:
        return
    study = optuna.create_study(storage="sqlite://", sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(points.size):
        study.enqueue_trial(points.point(number))
    written = []
    for number in range(points.size):
        trial = study.ask()
        written.append(repr({key: parameter.suggest(key, trial) for key, parameter in spec.space.items()}))
        assert points.number(study.trials[number].params) == number
    assert len(set(written)) == points.size
    assert points.number({}) is None
    assert points.another(range(points.size), 0) is None


@pytest.mark.parametrize(("sampler", "trials"), [("random", 5), ("tpe", None)])
def test_a_space_that_is_used_up(setup: Callable[..., Setup], sampler: str, trials: int | None) -> None:
    one = setup(space={"optimizer.lr": LRS}, trials=trials, hours=None if trials else 1.0, sampler={"kind": sampler})
    done = one.work()
    assert Counter(trial.outcome for trial in done)["complete"] == 3
    assert {trial.values for trial in done if trial.outcome == "complete"} == {(lr,) for lr in LRS}
    assert len(done) <= 6
    assert one.search().is_over(done)
    assert one.work() == done
    assert ending(done, 3) == "all 3 points of the space are done: 3 complete"


def test_points_that_are_refused_are_done(setup: Callable[..., Setup]) -> None:
    """Also where they are all that is left; with more room they are tried again."""
    space = {"model.irreps.hidden": ["4x0e", "4x3o", "64x0e", "4x5o"]}
    done = setup(space=space, trials=9, max_parameters=10_000).work()
    assert sorted(t.outcome for t in done if t.outcome != "repeated") == ["complete", "refused", "refused", "refused"]
    more = setup(space=space, trials=9, max_parameters=None).work()
    assert Counter(t.outcome for t in more if t.outcome != "repeated") == {"complete": 2, "refused": 3}


def test_more_refused_points_than_are_endured_at_random(
    setup: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("e3frame.sweep.worker._IN_A_ROW", 5)
    one = setup(space={"model.irreps.hidden": [*(f"{mul}x3o" for mul in range(2, 12)), "4x0e"]}, trials=5)
    search = one.search()
    search.study.enqueue_trial({"model.irreps.hidden": "2x3o"})
    done = one.work(search)
    assert Counter(t.outcome for t in done if t.outcome != "repeated") == {"complete": 1, "refused": 10}
    monkeypatch.setattr("e3frame.sweep.worker._TRIED", 3)
    other = setup(name="other", space={"model.irreps.hidden": [f"{mul}x3o" for mul in range(2, 12)]}, trials=5)
    with pytest.raises(UserError, match=r"^5 points in a row were refused or already tried\n  model\.layers"):
        other.work()


def test_workers_that_race_for_the_last_points(setup: Callable[..., Setup]) -> None:
    """Whoever chose a point at the same time as another one gives way: none is trained twice."""
    one = setup(space={"optimizer.lr": [0.1 * k for k in range(1, 7)]}, trials=50, heartbeat=60)
    trained: list[float] = []

    def train(config: RunConfig, trial: optuna.Trial) -> Sequence[float]:
        trial.set_user_attr("config", {})
        trained.append(config.optimizer.lr)
        return [config.optimizer.lr]

    one.train = train
    searches = [one.search() for _ in range(3)]
    workers = [threading.Thread(target=one.work, args=(search,)) for search in searches]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert sorted(trained) == pytest.approx([0.1 * k for k in range(1, 7)])
    assert searches[0].is_over(searches[0].trials())


def test_the_earlier_of_two_waits_for_the_later(setup: Callable[..., Setup]) -> None:
    """The later one may not have seen it: then it begins, and the earlier one gives way."""
    one = setup(space={"optimizer.lr": LRS}, trials=9)
    search = one.search()
    for _ in range(2):
        search.study.enqueue_trial({"optimizer.lr": 0.2})
    earlier, later = search.study.ask(), search.study.ask()
    worker = one.worker(search)
    for trial in (later, earlier):
        trial.suggest_categorical("optimizer.lr", LRS)
    assert worker._twin(later).number == earlier.number
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(worker._twin(earlier)))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    later.set_user_attr("config", {})
    waiting.join(10)
    assert [trial.number for trial in found] == [later.number]


def test_a_point_whose_process_died_is_left(setup: Callable[..., Setup]) -> None:
    one = setup(space={"optimizer.lr": LRS}, trials=9, retries=1)
    search = one.search()
    search.study.enqueue_trial({"optimizer.lr": 0.2})
    trial = search.study.ask()
    trial.suggest_categorical("optimizer.lr", LRS)
    assert not search.used_up(search.trials())
    search.study.tell(trial, state=optuna.trial.TrialState.FAIL)
    search.retry(search.study.trials[-1], 1)
    done = one.work(search)
    assert sorted(t.point["optimizer.lr"] for t in done if t.outcome == "complete") == LRS


def test_a_finished_search_says_so_again(setup: Callable[..., Setup], tmp_path: Path) -> None:
    one = setup(space={"optimizer.lr": [0.1]}, trials=20)
    search = one.search()
    done = one.work(search)
    assert [trial.outcome for trial in done] == ["complete"]
    assert ending(done, 1) == "the only point is done: 1 complete"
    assert Launcher(search, ["false"], Console(quiet=True)).run()


def test_what_the_command_says_of_a_space_that_is_used_up(
    setup: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("e3frame.sweep.report.write_report", lambda *_: None)
    one = setup(space={"optimizer.lr": LRS}, trials=9)
    search = one.search()
    one.work(search)
    assert _lead(search, []) == 0
    assert capsys.readouterr().out == "all 3 points of the space are done: 3 complete\n"
    none = setup(name="none", space={"model.irreps.hidden": ["4x0e"]}, trials=9, max_parameters=10)
    search = none.search()
    none.work(search)
    assert _lead(search, []) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == ("no trial of the search is complete\n  trial 0: refused: 1,504 parameters, more than 10\n")

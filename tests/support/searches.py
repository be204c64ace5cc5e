"""A search whose trainings take no time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest

from e3frame.compose import Composer, typed_run
from e3frame.config.run import RunConfig, TypedRun
from e3frame.spec.validate import validate
from e3frame.sweep import worker
from e3frame.sweep.spec import SweepSpec
from e3frame.sweep.study import Search, open_search
from e3frame.sweep.trials import Trial

LR = {"low": 1e-3, "high": 1e-1, "log": True}
Train = Callable[[RunConfig, optuna.Trial], Sequence[float]]


class Setup:
    """A study in ``folder`` whose trainings are ``train``; ``work()`` is one worker."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **spec: Any) -> None:
        raw = {"name": "one", "sampler": {"kind": "random"}, "space": {"optimizer.lr": LR}, "trials": 4, **spec}
        self.spec = validate(SweepSpec, raw)
        self.composer = Composer(["experiment=smoke", "model=nequip_small"])
        self.base = typed_run(self.composer.compose()).config
        self.folder = folder
        self.train: Train = lambda config, trial: [config.optimizer.lr]
        setup = self

        class Attempt:
            def __init__(self, search: Search, trial: optuna.Trial, typed: TypedRun, *_: Any) -> None:
                self.trial, self.config = trial, typed.config

            def run(self) -> tuple[float, ...]:
                return tuple(setup.train(self.config, self.trial))

        monkeypatch.setattr(worker, "Attempt", Attempt)

    def search(self) -> Search:
        return open_search(self.spec, self.composer.compose().raw, self.folder)

    def worker(self, search: Search) -> worker.Worker:
        typed = lambda overrides: typed_run(self.composer.compose(overrides))  # noqa: E731
        return worker.Worker(search, typed, self.base, 1, os.getppid())

    def work(self, search: Search | None = None) -> list[Trial]:
        search = search or self.search()
        self.worker(search).work()
        return search.trials()


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Setup]:
    return lambda **spec: Setup(tmp_path, monkeypatch, **spec)

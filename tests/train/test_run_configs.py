"""Every choice of every config group makes a run that fits together, and sets each key of its spec."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.choices import overrides_for

from e3frame.compose import compose_config, config_folder
from e3frame.config.run import RunConfig
from e3frame.spec.base import Spec

GROUPS = ("task", "optimizer", "scheduler", "trainer", "logger", "experiment")
CHOICES = sorted((group, file.stem) for group in GROUPS for file in (Path(config_folder()) / group).glob("*.yaml"))


@pytest.fixture(autouse=True)
def _tensorboard_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("e3frame.config.loggers.base.find_spec", lambda name: object())


def composed(*overrides: str) -> RunConfig:
    return compose_config(overrides).parse(RunConfig, RunConfig.typed)


def test_there_are_choices_in_every_group() -> None:
    assert {group for group, _ in CHOICES} == set(GROUPS)


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes(group: str, choice: str) -> None:
    config = composed(*overrides_for(group, choice))
    part = getattr(config, group, None)
    if part is not None and hasattr(part, "kind"):
        assert part.kind == choice


@pytest.mark.parametrize(("group", "choice"), [c for c in CHOICES if c[0] not in ("experiment", "task")])
def test_every_key_is_written_out(group: str, choice: str) -> None:
    """So that the file shows what can be set, and --cfg job all that is set."""
    raw = compose_config([f"{group}={choice}"]).raw[group]
    spec: Spec = getattr(composed(f"{group}={choice}"), group)
    assert set(raw) == set(type(spec).model_fields)


def test_the_default_run() -> None:
    config = composed()
    assert (config.name, config.seed) == ("run", 0)
    assert config.typed().warnings == ()


def test_the_sample_experiment_ends_in_time() -> None:
    config = composed("experiment=sample")
    assert config.data.kind == "sample"
    assert config.trainer.max_minutes <= 2.5
    assert config.typed().warnings == ()


def test_an_experiment_leaves_the_last_word_to_the_command_line() -> None:
    config = composed("experiment=smoke", "trainer.max_epochs=5", "name=mine", "optimizer=adamw")
    assert (config.trainer.max_epochs, config.name, config.optimizer.kind) == (5, "mine", "adamw")
    assert config.data.num_train == 16

"""A sampler of a plugin, named on the command line, proposes the points of a search."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.searches import Setup

from e3frame.cli.sweep import _checked
from e3frame.spec.errors import UserError
from e3frame.sweep.spec import SamplerSpec

PLUGIN = '''
from typing import Literal

from optuna.samplers import BaseSampler, RandomSampler

from e3frame.sweep.spec import SamplerSpec


class Halving(BaseSampler):
    """The largest value, half of it, a quarter, ..."""

    def __init__(self, factor: float, stream: int) -> None:
        self.share = factor**stream

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, name, distribution):
        return distribution.high * self.share


class HalvingSpec(SamplerSpec):
    """Each value is a part of the one before."""

    kind: Literal["own_halving"] = "own_halving"
    factor: float = 0.5

    def build(self, stream: int) -> BaseSampler:
        return Halving(self.factor, stream)
'''
SEARCH = """
name: own
overrides: [experiment=smoke, model=nequip_small]
space: {optimizer.lr: {low: 1.0e-3, high: 0.1}}
sampler: {kind: own_halving, factor: 0.25}
trials: 3
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module with a sampler and the file of a search that uses it, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("own_sampler.py").write_text(PLUGIN, encoding="utf-8")
    Path("mine/sweep").mkdir(parents=True)
    Path("mine/sweep/own.yaml").write_text(SEARCH, encoding="utf-8")
    yield "own_sampler"
    sys.modules.pop("own_sampler", None)
    SamplerSpec.members.pop("own_halving", None)


def test_the_command_names_its_plugin(plugin: str) -> None:
    with pytest.raises(UserError) as caught:
        _checked(["sweep=own"], "mine")
    assert "sweep.sampler.kind\n  no sampler is named own_halving" in str(caught.value)
    assert plugin not in sys.modules
    spec, composer, base = _checked(["sweep=own", f"plugins={plugin}", "sweep.sampler.factor=0.5"], "mine")
    assert spec.sampler.model_dump()["factor"] == 0.5
    assert base.plugins == (plugin,)
    assert composer.compose().raw["plugins"] == [plugin]


def test_it_proposes_the_points(plugin: str, setup: Callable[..., Setup]) -> None:
    _checked(["sweep=own", f"plugins={plugin}"], "mine")
    space = {"optimizer.lr": {"low": 1e-3, "high": 0.1}}
    trials = setup(space=space, sampler={"kind": "own_halving", "factor": 0.25}, trials=3).work()
    assert [trial.point["optimizer.lr"] for trial in trials] == pytest.approx([0.1, 0.025, 0.00625])

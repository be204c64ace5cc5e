"""A run is composed, validated, type-checked and looked up once, and handed on from there."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl

import e3frame.files.yaml_file as yaml_file
import e3frame.run.resume as resume
import e3frame.run.training as training
from e3frame.cli import main
from e3frame.compose import Composer
from e3frame.config.run import RunConfig, TypedRun

Counted = Callable[..., Counter[str]]
SMALL = ["experiment=smoke", "model=schnet_like", "model.irreps.hidden=4x0e", "trainer.max_epochs=1"]
PATCHED = {
    "Hydra composes": (ConfigLoaderImpl, "load_configuration"),
    "points composed": (Composer, "compose"),
    "typed": (RunConfig, "typed"),
    "resolved": (TypedRun, "resolved"),
    "validated": (yaml_file, "validate"),
}


@pytest.fixture
def counted(cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_figures: None) -> Counted:
    """``counted("folder=a")``: how often each step was taken in ``e3frame train``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    counts: Counter[str] = Counter()
    for name, (owner, attribute) in PATCHED.items():
        monkeypatch.setattr(owner, attribute, _counting(getattr(owner, attribute), name, counts))
    looking = _counting(resume.earlier_session, "looked", counts)
    for module in (resume, training):
        monkeypatch.setattr(module, "earlier_session", looking)

    def run(*arguments: str) -> Counter[str]:
        counts.clear()
        assert main(["train", *arguments, f"data.cache_dir={cache}"]) == 0
        return Counter(counts)

    return run


def _counting(original: Any, name: str, counts: Counter[str]) -> Any:
    def call(*arguments: Any, **named: Any) -> Any:
        counts[name] += name != "validated" or arguments[0] is RunConfig
        return original(*arguments, **named)

    return call


def test_a_run(counted: Counted) -> None:
    once = dict.fromkeys(("Hydra composes", "typed", "resolved", "validated", "looked"), 1)
    assert counted(*SMALL) == once
    assert counted(*SMALL, "folder=mine") == once


def test_a_run_that_goes_on(counted: Counted) -> None:
    """Of the config in the folder, which is compared with, there is another validation."""
    counted(*SMALL, "folder=mine")
    once = {"typed": 1, "resolved": 1, "validated": 1, "looked": 1}
    assert counted("mine", "trainer.max_epochs=2") == once


def test_a_grid(counted: Counted) -> None:
    """Hydra composes each of the two runs on its own account; it does so for its launchers."""
    counts = counted("-m", *SMALL, "folder=mine", "seed=1,2")
    counts.pop("Hydra composes")
    assert counts == dict.fromkeys(("points composed", "typed", "resolved", "validated", "looked"), 2)

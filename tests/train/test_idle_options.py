"""Every option does something, or a warning says that it does nothing and what to write."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from support.choices import overrides_for
from support.runs import Finished, MakeConfig

import e3frame
from e3frame.compose import config_folder, load_run
from e3frame.config.loggers import LoggerSpec
from e3frame.config.optimizers import OptimizerSpec
from e3frame.config.run import RunConfig
from e3frame.config.schedulers import SchedulerSpec
from e3frame.data.sources.base import DataSpec

SOURCES = Path(e3frame.__file__).parent
FAMILIES = (DataSpec, OptimizerSpec, SchedulerSpec, LoggerSpec)


def specs() -> Iterator[type[BaseModel]]:
    """All that a run config, apart from its model, is made of."""
    waiting, seen = [RunConfig, *FAMILIES], set()
    while waiting:
        spec = waiting.pop()
        if spec in seen or not spec.__module__.startswith("e3frame.") or spec.__name__ == "ModelSpec":
            continue
        seen.add(spec)
        yield spec
        waiting += spec.__subclasses__() if issubclass(spec, FAMILIES) else []
        waiting += [inner for field in spec.model_fields.values() for inner in _models(field.annotation)]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


OPTIONS = sorted({(spec.__name__, name, spec) for spec in specs() for name in spec.model_fields}, key=lambda o: o[:2])


@cache
def read_somewhere() -> set[str]:
    """Names that the package reads as attributes, or as text through ``getattr``."""
    found: set[str] = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_there_are_options() -> None:
    assert len(OPTIONS) > 120
    assert {"TrainerSpec", "XyzSpec", "SplitSpec", "Units", "CosineSpec", "AdamSpec", "TargetSpec"} <= {
        o[0] for o in OPTIONS
    }


@pytest.mark.parametrize(("spec", "name"), [(o[2], o[1]) for o in OPTIONS], ids=[f"{o[0]}.{o[1]}" for o in OPTIONS])
def test_every_option_is_read(spec: type[BaseModel], name: str) -> None:
    """By name, or with all of its spec, which is handed on whole to what is built of it."""
    text = Path(SOURCES.parent / f"{spec.__module__.replace('.', '/')}.py").read_text(encoding="utf-8")
    handed_on = "**self.model_dump(" in text or "self.model_dump(" in text
    assert name in read_somewhere() or handed_on


FILE = ["data=xyz", "data.path=a.xyz"]
IDLE = {
    "data.keys.stress": (
        [*FILE, "data.keys.stress=virial_stress"],
        "no target or input uses 'stress', so it is not read",
        "task.targets.stress={derive: strain_gradient, of: energy} trains on it",
    ),
    "data.keys.virial": (
        [*FILE, "data.keys.virial=V"],
        "no target or input uses 'stress', so it is not read",
        "task.targets.stress={derive: strain_gradient, of: energy} trains on it",
    ),
    "data.keys.dipole": (
        [*FILE, "data.keys.dipole=mu"],
        "no target or input uses 'dipole', so it is not read",
        "task.targets.dipole={irreps: 1o, per: graph} trains on it",
    ),
    "data.keys.gap": (
        [*FILE, "data.keys.gap=g"],
        "no target or input uses 'gap', so it is not read",
        "task.targets.gap={irreps: ..., per: ...} trains on it",
    ),
    "data.units.forces": (
        [*FILE, "task=energy", "~model.outputs.forces", "data.units.forces=Hartree/bohr"],
        "no target or input uses 'forces', so its unit is not used",
        "remove it",
    ),
    "data.allow_missing": (
        [*FILE, "task=energy", "~model.outputs.forces", "data.allow_missing=[forces]"],
        "no target or input uses 'forces', so no frame needs it",
        "remove it, or task.targets.forces={derive: negative_gradient, of: energy} trains on it",
    ),
    "data.split.seed": (
        [*FILE, "data.split.seed=3"],
        "the seed has no effect: method time is not random",
        "set method: random, or remove seed",
    ),
    "trainer.early_stopping_patience": (
        ["trainer.early_stopping_patience=100"],
        "the run ends after 100 epochs, before it could stop early",
        "lower it, or raise trainer.max_epochs",
    ),
    "trainer.check_val_every_n_epoch": (
        ["trainer.check_val_every_n_epoch=200"],
        "the run ends after 100 epochs, before its first validation",
        "lower it; the last weights are always validated",
    ),
    "scheduler.patience": (
        ["scheduler=plateau", "trainer.max_epochs=10"],
        "the run ends after 10 epochs, before the learning rate could fall",
        "give less, raise trainer.max_epochs, or write scheduler=constant",
    ),
    "optimizer.decay_biases": (
        ["optimizer=adamw", "optimizer.weight_decay=0", "optimizer.decay_biases=true"],
        "decay_biases has no effect, because weight_decay is 0",
        "remove decay_biases, or set weight_decay",
    ),
    "task.targets.energy.loss": (
        ["task.targets.energy.weight=0", "task.targets.energy.loss=mae"],
        "loss has no effect, because the weight is 0",
        "remove loss, or give a weight above 0",
    ),
}


def warnings_of(overrides: list[str]) -> dict[str, tuple[str, str | None]]:
    return {".".join(map(str, w.path)): (w.problem, w.hint) for w in load_run(overrides).warnings}


@pytest.mark.parametrize("path", IDLE)
def test_an_option_that_does_nothing(path: str) -> None:
    overrides, problem, hint = IDLE[path]
    assert warnings_of(overrides) == {path: (problem, hint)}


GROUPS = ("experiment", "model", "task", "scheduler", "optimizer")
SHIPPED = [(group, file.stem) for group in GROUPS for file in (config_folder() / group).glob("*.yaml")]
DATA = [(("data", kind), [f"data={kind}", "data.path=a.xyz"]) for kind in ("xyz", "npz", "ase_db")]
DATA += [(("data", kind), [f"data={kind}", "data.molecule=ethanol"]) for kind in ("md17", "rmd17")]
DATA += [((group, choice), overrides_for(group, choice)) for group, choice in SHIPPED]


@pytest.mark.parametrize("overrides", [given for _, given in DATA], ids=["=".join(pair) for pair, _ in DATA])
def test_what_is_shipped_has_no_such_option(overrides: list[str]) -> None:
    more = [] if any("=a.xyz" in given for given in overrides) or not _needs_path(overrides) else ["data.path=a.xyz"]
    found = warnings_of([*overrides, *more])
    assert not [
        path for path, (problem, _) in found.items() if "nothing" in problem or "no target or input uses" in problem
    ]


def _needs_path(overrides: list[str]) -> bool:
    return any(given in ("experiment=3bpa", "experiment=metals") for given in overrides)


def test_pairs_of_a_label_that_nobody_learns() -> None:
    found = warnings_of([*FILE, "+data.keys.J=couplings", "+data.edges.J={index: pairs}"])
    assert found["data.edges.J"] == ("no target or input uses 'J', so its pairs are not read", "remove it")
    assert found["data.keys.J"][0] == "no target or input uses 'J', so it is not read"


def test_learning_rates_of_frozen_layers(finished: Finished, make_config: MakeConfig) -> None:
    """One that is of a layer which is trained, too, does something."""
    rates = {"spec*": 0.5, "conv": 0.1, "l*": 0.1, "*": 2.0}
    init = {"model": str(finished.folder), "freeze": ["species", "conv"], "lr": rates}
    found = {".".join(w.path): (w.problem, w.hint) for w in make_config({"init": init}).typed().warnings}
    assert found == {
        f"init.lr.{pattern}": (
            f"frozen layers have no learning rate: {layer}",
            "remove them from init.freeze or from init.lr",
        )
        for pattern, layer in (("spec*", "species"), ("conv", "conv"))
    }

"""A small run config, and one short run that many tests look at. A conftest imports the fixtures it needs."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console

from e3frame.config.run import RunConfig
from e3frame.run import training as run_module
from e3frame.run.training import RunResult
from e3frame.spec.validate import validate

RAW = yaml.safe_load(
    """
    model:
      r_max: 4.0
      layers:
        species: {kind: species_embedding, irreps_out: 8x0e}
        edge_sh: {kind: spherical_harmonics, irreps_out: 0e + 1o}
        radial: {kind: radial_basis, num_basis: 6}
        conv: {kind: convolution, irreps_out: gate(8x0e + 4x1o), radial_mlp: [8]}
        gate: {kind: gate}
        last: {kind: convolution, irreps_out: 8x0e, radial_mlp: [8]}
        act: {kind: activation}
        readout: {kind: linear, irreps_out: 0e}
      outputs:
        energy: {kind: sum, of: readout, per_species_scale_shift: auto}
        forces: {kind: negative_gradient, of: energy}
    data: {kind: sample, molecules: [ethanol, furan], num_train: 40, batch_size: 8}
    task:
      targets:
        energy: {irreps: 0e, per: graph, per_atom: true}
        forces: {irreps: 1o, per: node}
    optimizer: {kind: adam, lr: 0.01}
    scheduler: {kind: cosine}
    trainer: {max_epochs: 3, num_threads: 1, progress_bar: false}
    logger: {kind: csv}
    """
)


def run(config: RunConfig, folder: Path, console: Console | None = None, observers: Sequence[Any] = ()) -> RunResult:
    """Check a run config and train it."""
    return run_module.run(config.typed(), folder, console, observers)


MakeConfig = Callable[..., RunConfig]
REMOVED = object()


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """The raw config with values replaced or REMOVED, by dotted key."""
    raw = copy.deepcopy(RAW)
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        inner = raw
        for key in parents:
            inner = inner.setdefault(key, {})
        if value is REMOVED:
            inner.pop(last)
        else:
            inner[last] = value
    return raw


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Processed data are made once for all tests here."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def make_config(cache: str) -> MakeConfig:
    """``make_config(changes)``: the small run with changes by dotted key."""
    return lambda changes=None: validate(RunConfig, changed({"data.cache_dir": cache} | (changes or {})))


@pytest.fixture(autouse=True)
def _same_global_state() -> Iterator[None]:
    """Nothing here may leave torch's global state other than it was."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the runs: the order of sums, and so their last digit, depends on it
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_default_dtype())
    with torch.random.fork_rng():
        yield
    after = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_default_dtype())
    torch.set_num_threads(threads)
    assert after == before


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw nothing, which takes most of the time of a short one."""
    for name in ("draw", "write_page"):
        monkeypatch.setattr(run_module, name, lambda *_: None)


class Finished:
    """A run that is over: its result, and what it wrote on the screen."""

    def __init__(self, config: RunConfig, folder: Path) -> None:
        self.config = config
        console = Console(record=True, width=100, file=io.StringIO())
        self.result: RunResult = run(config, folder, console)
        self.folder = folder
        self.text = console.export_text()


@pytest.fixture(scope="session")
def finished(make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(make_config(), tmp_path_factory.mktemp("runs") / "first")

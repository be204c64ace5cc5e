"""A run goes on with the data that it began with, or says which file has changed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from rich.console import Console
from support.runs import MakeConfig, run

from e3frame.config.run import RunConfig
from e3frame.run import contents
from e3frame.run.contents import record, require_same_data
from e3frame.run.resume import Finished
from e3frame.spec.errors import UserError


def write_frames(path: Path, number: int = 12, seed: int = 0) -> None:
    rng, frames = np.random.default_rng(seed), []
    for _ in range(number):
        atoms = molecule("H2O")
        atoms.positions += 0.05 * rng.normal(size=(3, 3))
        forces = rng.normal(size=(3, 3))
        atoms.calc = SinglePointCalculator(atoms, energy=float(rng.normal()), forces=forces - forces.mean(0))
        frames.append(atoms)
    write(path, frames, format="extxyz")


@pytest.fixture
def config(make_config: MakeConfig, tmp_path: Path) -> RunConfig:
    """A run on files of every role."""
    for seed, name in enumerate(("a.xyz", "b.xyz", "test.xyz")):
        write_frames(tmp_path / name, seed=seed)
    (tmp_path / "chosen.txt").write_text("0 1 2 3 4 5 6 7 12 13")
    split = {"method": "index", "train_index": str(tmp_path / "chosen.txt")}
    files = {"path": str(tmp_path / "?.xyz"), "test_path": str(tmp_path / "test.xyz"), "split": split}
    data = {"kind": "xyz", "cache_dir": str(tmp_path / "cache"), "preflight": "off", "processes": 1, **files}
    return make_config({"data": data, "trainer.max_epochs": 1})


def turn_a_digit(path: Path) -> None:
    """Other content of the same size and time."""
    before, text = path.stat(), path.read_text()
    digit = re.search(r"\d(?=\s)", text[::-1]) if path.suffix == ".xyz" else re.search(r"\d", text[::-1])
    assert digit is not None
    place = len(text) - 1 - digit.start()
    path.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a digit": (lambda folder: turn_a_digit(folder / "b.xyz"), "b.xyz has changed"),
    "more frames": (lambda folder: write_frames(folder / "a.xyz", 13), "a.xyz has changed"),
    "the test": (lambda folder: write_frames(folder / "test.xyz", seed=9), "test.xyz has changed"),
    "a list": (lambda folder: turn_a_digit(folder / "chosen.txt"), "chosen.txt has changed"),
    "one more": (lambda folder: write_frames(folder / "c.xyz"), "c.xyz was added after the run began"),
    "one less": (lambda folder: (folder / "b.xyz").unlink(), "b.xyz has been removed"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_named(change: str, config: RunConfig, tmp_path: Path) -> None:
    act, said = CHANGES[change]
    folder = tmp_path / "run"
    record(folder, config)
    require_same_data(folder, config)
    act(tmp_path)
    with pytest.raises(UserError) as caught:
        require_same_data(folder, config)
    hint = "to start a new run with the changed data: train folder=NEW; to continue this one, restore the files"
    assert str(caught.value) == f"{folder}: the data of this run have changed\n  {tmp_path}/{said}\n  {hint}"


@pytest.mark.usefixtures("without_figures")
def test_a_run_does_not_go_on_with_other_data(config: RunConfig, tmp_path: Path) -> None:
    folder, console, path = tmp_path / "run", Console(quiet=True), tmp_path / "a.xyz"
    run(config, folder, console)
    longer, text = config.replace(trainer=config.trainer.replace(max_epochs=2)), path.read_bytes()
    write_frames(path, seed=7)
    checkpoint = next((folder / "checkpoints").glob("*.ckpt"))
    for config_, folder_ in (
        (longer, folder),
        (config, folder),  # finished, but not with these data
        (longer.replace(ckpt=str(checkpoint)), tmp_path / "other"),
    ):
        with pytest.raises(UserError, match=r"run: the data of this run have changed\n  .*a\.xyz has changed\n"):
            run(config_, folder_, console)
    path.write_bytes(text)  # at another time: the content counts
    with pytest.raises(Finished):
        run(config, folder, console)
    assert run(longer, folder, console).epochs == 2
    assert run(config, tmp_path / "new", console).epochs == 1


def test_a_large_file_that_nobody_touched_is_not_read_again(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path / "run", config)
    monkeypatch.setattr(contents, "LARGE", 1)
    monkeypatch.setattr(contents, "_digest", lambda file: pytest.fail(f"{file} was read"))
    require_same_data(tmp_path / "run", config)


def test_folders_without_digests_and_with_damaged_ones(config: RunConfig, tmp_path: Path) -> None:
    require_same_data(tmp_path, config)  # of an earlier version
    for text in ("{", "[]", "3", "{}x", '{"b.xyz": 1}', '{"b.xyz": {"size": 1}}'):
        (tmp_path / "data.json").write_text(text.replace("b.xyz", str(tmp_path / "b.xyz")))
        with pytest.raises(UserError, match=r"data.json is damaged\n  to start a new run: train folder=NEW"):
            require_same_data(tmp_path, config)

"""Every verb where the world is against it: outputs that cannot be written, places that are none, devices that are not
there. Each case is a process of its own; what a user sees is one short message, or nothing amiss."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.fuzzing import Outcome, run_apart
from support.runs import Finished

from e3frame.cli import main

WATER = "3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n"
LONG = "n" * 300


@pytest.fixture(scope="session")
def verbs(
    finished: Finished, cache: str, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    """Each verb with arguments for which it succeeds, in any folder."""
    water = tmp_path_factory.mktemp("water") / "water.xyz"
    water.write_text(WATER)
    sample = ["data=sample", "data.molecules=[ethanol,furan]", "data.num_train=40", f"data.cache_dir={cache}"]
    return {
        "check": ["check", "--no-data", "model=schnet_like"],
        "layers": ["layers"],
        "schema": ["schema"],
        "info": ["info"],
        "completion": ["completion", "bash"],
        "irreps": ["irreps", "1o", "x", "1o"],
        "draw": ["draw", "sh", "1", "-o", "own.png", "--dpi", "20"],
        "predict": ["predict", f"model={finished.result.model}", f"path={water}", "out=own.xyz"],
        "evaluate": ["evaluate", f"model={finished.result.model}", *sample, "out=own.json"],
        "convert": ["convert", str(models / "mace_zbl.model"), "out=own.safetensors"],
        "train": ["train", str(finished.folder)],
    }


VERBS = ("check", "layers", "completion", "schema", "info", "irreps", "draw", "predict", "evaluate", "convert", "train")


def _full() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def _closed(*numbers: int) -> Callable[[], None]:
    def close() -> None:
        for number in numbers:
            os.close(number)
            setattr(sys, {1: "stdout", 2: "stderr"}[number], None)

    return close


def _encoded(encoding: str) -> Callable[[], None]:
    def encode() -> None:
        for name, number in (("stdout", 1), ("stderr", 2)):
            setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(io.FileIO(number, "w", closefd=False)), encoding))

    return encode


def seen(arguments: list[str], folder: Path, before: Callable[[], None] = lambda: None) -> Outcome:
    def call() -> int:
        before()
        return main(arguments)

    folder.mkdir(exist_ok=True)
    outcome = run_apart(call, folder)
    assert outcome.signal is None
    assert "Traceback" not in outcome.output
    assert not re.search(r'Error(?!")', outcome.output)  # in quotes it is a definition of the schema
    return outcome


def test_no_verb_is_left_out(verbs: dict[str, list[str]]) -> None:
    from e3frame.cli import VERBS as known

    assert set(VERBS) == set(verbs) == set(known) - {"sweep"}


@pytest.mark.parametrize("verb", VERBS)
def test_a_full_disk_behind_standard_output(verb: str, verbs: dict[str, list[str]], tmp_path: Path) -> None:
    outcome = seen(verbs[verb], tmp_path / "own", _full)
    assert outcome.code == 1
    assert outcome.output.splitlines()[-1] == "standard output cannot be written: No space left on device"
    assert len(outcome.output.splitlines()) < 8  # warnings come before it
    made = {"draw": "own.png", "predict": "own.xyz", "evaluate": "own.json"}.get(verb)
    assert made is None or (tmp_path / "own" / made).stat().st_size > 0


@pytest.mark.parametrize(
    ("verb", "numbers"), [*((verb, (1, 2)) for verb in VERBS), ("predict", (1,)), ("layers", (2,))]
)
def test_closed_outputs(verb: str, numbers: tuple[int, ...], verbs: dict[str, list[str]], tmp_path: Path) -> None:
    """Nothing that is printed lands in a file that is opened next."""
    outcome = seen(verbs[verb], tmp_path / "own", _closed(*numbers))
    assert outcome.code == 0
    if verb == "predict":
        assert (tmp_path / "own" / "own.xyz").read_text().startswith("3\n")


@pytest.mark.parametrize(
    ("verb", "encoding"), [*((verb, "ascii") for verb in VERBS), ("evaluate", "latin-1"), ("layers", "cp437")]
)
def test_terminals_that_know_few_characters(
    verb: str, encoding: str, verbs: dict[str, list[str]], tmp_path: Path
) -> None:
    outcome = seen(verbs[verb], tmp_path / "own", _encoded(encoding))
    assert outcome.code == 0
    if encoding == "ascii":
        assert outcome.output.isascii()
        assert verb != "evaluate" or "meV/A " in outcome.output


def state(folder: Path) -> dict[str, tuple[int, int, int]]:
    """What is in a folder, and when it was changed."""
    found = {path.name: path.lstat() for path in folder.iterdir()}
    return {name: (each.st_mode, each.st_size, each.st_mtime_ns) for name, each in found.items()}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda path: path.write_text("mine"),
            "{path} exists\n  choose another name, or {hint} to replace it\n",
        ),
        (os.mkfifo, "{path}\n  it is a named pipe, not a file\n  choose another name for the file to write\n"),
        (os.mkdir, "{path}\n  it is a folder, not a file\n  choose another name for the file to write\n"),
        (
            lambda path: path.symlink_to("/dev/zero"),
            "{path}\n  it is a device, not a file\n  choose another name for the file to write\n",
        ),
        (
            lambda path: path.symlink_to("nowhere"),
            "{path} exists, as a link\n  choose another name, or {hint} to replace it\n",
        ),
        ("none/x", "{path}: there is no folder none\n"),
        ("own.log/x", "{path}: there is no folder own.log\n"),
        (LONG, "{path}\n  File name too long\n  choose another name for the file to write\n"),
        ("/proc/x", "{path} cannot be written: No such file or directory\n"),
    ],
)
@pytest.mark.parametrize("verb", ["draw", "predict", "evaluate", "convert"])
def test_outputs_that_are_no_new_files(
    verb: str, make: Callable[[Path], None] | str, message: str, verbs: dict[str, list[str]], tmp_path: Path
) -> None:
    suffix = {"draw": ".png", "predict": ".xyz", "evaluate": ".json", "convert": ".safetensors"}[verb]
    (own := tmp_path / "own").mkdir()
    (own / "own.log").write_text("mine")
    path = Path(f"{make}{suffix}" if isinstance(make, str) else f"given{suffix}")
    if not isinstance(make, str):
        make(own / path)
    before = state(own)
    arguments = [text.replace(f"own{suffix}", str(path)) for text in verbs[verb]]
    outcome = seen(arguments, own)
    hint = "--overwrite" if verb == "draw" else "overwrite=true"
    assert outcome.code == 1
    assert outcome.output.endswith(message.format(path=path, hint=hint))
    assert make == "/proc/x" or len(outcome.output.splitlines()) <= 3  # before any work
    assert state(own) == before


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("taken", "taken is not a folder\n  choose another folder for the run\n"),
        ("taken/x", "taken/x cannot be written: Not a directory\n"),
        ("pipe", "pipe is not a folder\n  choose another folder for the run\n"),
        (LONG, f"{LONG}\n  File name too long\n  choose another folder for the run\n"),
        ("/proc/x", "/proc/x cannot be written: No such file or directory\n"),
    ],
)
def test_folders_that_no_run_can_have(folder: str, message: str, cache: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    arguments = ["train", "experiment=smoke", "model=schnet_like", f"data.cache_dir={cache}", f"folder={folder}"]
    outcome = seen(arguments, tmp_path)
    assert (outcome.code, outcome.output) == (1, message)
    assert (tmp_path / "taken").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipe", "taken"]


@pytest.mark.parametrize("name", ["cuda", "cuda:7", "mps"])
@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_devices_that_are_not_there(
    verb: str, name: str, verbs: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    outcome = seen([*verbs[verb], f"device={name}"], tmp_path / "own")
    assert outcome.code == 1
    assert outcome.output.splitlines()[0].startswith(f"device={name}: this machine has none")
    assert outcome.output.splitlines()[1:] == ["  devices here: cpu"]
    assert not list((tmp_path / "own").iterdir())


@pytest.mark.parametrize("verb", ["train", "sweep"])
def test_a_gpu_that_is_not_there(verb: str, cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    what = {"train": ["experiment=smoke"], "sweep": ["sweep=sample"]}[verb]
    outcome = seen([verb, *what, f"data.cache_dir={cache}", "trainer.accelerator=gpu"], tmp_path / "own")
    assert outcome.code == 1
    assert outcome.output.endswith("trainer.accelerator\n  there is no CUDA GPU here\n  write auto or cpu\n")
    assert not list((tmp_path / "own").rglob("*.yaml"))

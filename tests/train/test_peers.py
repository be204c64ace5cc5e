"""Processes of a training that get no frames, and those that end before their time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import ase.io
import pytest
import torch
from ase.build import molecule
from ase.calculators.emt import EMT
from rich.console import Console
from support.runs import MakeConfig, run
from support.state import history, results
from torch_geometric.data import Batch

from e3frame.config.run import RunConfig
from e3frame.data.pipeline.batches import Place
from e3frame.data.pipeline.loader import load
from e3frame.data.pipeline.module import make_loader
from e3frame.run.peers import Peer, failure, wait_until_ready
from e3frame.spec.errors import UserError
from e3frame.training.module import Training

TWO = {"trainer.devices": 2, "trainer.accelerator": "cpu"}


pytestmark = pytest.mark.usefixtures("without_figures")


def frames_of(file: Path, number: int) -> None:
    frames = [molecule("H2O") for _ in range(number)]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=k)
        atoms.calc = EMT()
        atoms.get_forces()
    ase.io.write(file, frames)


def config_of(sizes: tuple[int, int, int], make_config: MakeConfig, folder: Path, **more: Any) -> RunConfig:
    """A run with so many frames of training, validation and test."""
    file = folder / "frames.xyz"
    frames_of(file, sum(sizes))
    split = dict(zip(("train", "val", "test"), sizes, strict=True))
    data = {"kind": "xyz", "path": str(file), "split": split, "batch_size": 2, "cache_dir": str(folder / "cache")}
    changes = {"data": {**data, "preflight": "off"}, "trainer.dtype": "float64", "trainer.max_epochs": 2}
    return make_config({**changes, **more})


@pytest.mark.parametrize("sizes", [(3, 1, 0)], ids=str)
def test_two_processes_and_fewer_frames(sizes: tuple[int, int, int], make_config: MakeConfig, tmp_path: Path) -> None:
    for name, more in (("one", {}), ("two", TWO)):
        run(config_of(sizes, make_config, tmp_path, **more), tmp_path / name, Console(quiet=True))
    for one, two in zip(history(tmp_path / "one"), history(tmp_path / "two"), strict=True):
        numbers = [{key: float(value) for key, value in row.items() if value} for row in (one, two)]
        assert numbers[1] == pytest.approx(numbers[0], rel=1e-6)
    counts = {name: errors["frames"] for name, errors in results(tmp_path / "two").items() if name != "run"}
    assert counts == {name: size for name, size in zip(("train", "val", "test"), sizes, strict=True) if size}


@pytest.mark.parametrize("size", [2, {"atoms": 6}], ids=str)
@pytest.mark.parametrize("number", range(1, 6))
def test_each_process_has_a_batch_and_each_frame_counts_once(
    number: int, size: Any, make_config: MakeConfig, tmp_path: Path
) -> None:
    config = config_of((1, number, 0), make_config, tmp_path, **{"data.eval_batch_size": size})
    frames = load(config.data, config.model.r_max, config.task.labels).val
    for seed in (0, None):
        loaders = [
            make_loader(frames, config.data.eval_batch_size, seed=seed, place=Place(rank=rank, world=4))
            for rank in range(4)
        ]
        batches = [[batch.frame.tolist() for batch in loader] for loader in loaders]
        assert all(batches)
        counted = [
            [frame for k, batch in enumerate(own) if k not in loader.batch_sampler.surplus for frame in batch]
            for own, loader in zip(batches, loaders, strict=True)
        ]
        assert sorted(chain(*counted)) == list(range(1, number + 1))


@pytest.fixture
def peer() -> Iterator[Any]:
    """``peer(code, number)``: a process with this code in place of a training."""
    made: list[Peer] = []

    def start(code: str, number: int = 1) -> Peer:
        mine, theirs = socket.socketpair()
        log = tempfile.TemporaryFile()  # noqa: SIM115
        before = "import os, sys, time, socket\nchannel = socket.socket(fileno=0)\n"
        with theirs:
            process = subprocess.Popen([sys.executable, "-c", before + code], stdin=theirs, stdout=log, stderr=log)
        made.append(Peer(number, process, mine, log))
        return made[-1]

    yield start
    for one in made:
        one.end()


AGAIN = "\n  run the same command again to resume from the last checkpoint"
ENDS = {
    "killed": (
        "os.kill(os.getpid(), 9)",
        "process 1 of this training was killed by SIGKILL, probably because the machine ran out of memory" + AGAIN,
    ),
    "crashed": ("os.abort()", "process 1 of this training was killed by SIGABRT" + AGAIN),
    "mistaken": ("print('a.xyz, frame 3\\n  no forces'); sys.exit(2)", "a.xyz, frame 3\n  no forces"),
    "defect": ("1 / 0", "process 1 of this training failed\n  ZeroDivisionError: division by zero" + AGAIN),
    "left": ("sys.exit(0)", "process 1 of this training ended before training started"),
}


@pytest.mark.parametrize("case", ENDS)
def test_one_message_from_a_process_that_ends(case: str, peer: Any) -> None:
    code, message = ENDS[case]
    with pytest.raises(UserError) as caught:
        wait_until_ready([peer("channel.send(b'1'); time.sleep(60)", 2), peer(code)])
    assert str(caught.value) == message
    if case != "left":
        began = peer(f"channel.send(b'1'); time.sleep(0.1); {code}")
        wait_until_ready([began])
        assert str(failure([began])) == message


def test_the_message_is_that_of_the_process_that_ended_first(peer: Any) -> None:
    """A killed process breaks the connections of all others, which end faster than it is noticed."""
    broken, killed = peer("raise RuntimeError('Connection closed by peer')"), peer("os.kill(os.getpid(), 9)", 2)
    broken.process.wait()
    assert "process 2 of this training was killed by SIGKILL" in str(failure([broken, killed]))
    killed.process.wait()
    assert failure([]) is None


def test_a_killed_process_ends_the_training(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Peer] = []
    start, step = Peer.start, Training.training_step

    def remembered(*arguments: Any) -> Peer:
        begun.append(start(*arguments))
        return begun[-1]

    def killing(self: Training, batch: Batch, index: int) -> Any:
        os.kill(begun[0].process.pid, signal.SIGKILL)
        return step(self, batch, index)

    monkeypatch.setattr(Peer, "start", remembered)
    monkeypatch.setattr(Training, "training_step", killing)
    config = config_of((4, 1, 0), make_config, tmp_path, **TWO)
    with pytest.raises(UserError, match="process 1 of this training was killed by SIGKILL"):
        run(config, tmp_path / "run", Console(quiet=True))
    assert begun[0].process.returncode == -signal.SIGKILL
    assert not torch.distributed.is_initialized()


def test_a_process_ends_with_the_first_one(tmp_path: Path) -> None:
    """It waits for nobody who has gone."""
    code = "from e3frame.run.peers import say_ready; say_ready(); import time; time.sleep(60)"
    channel, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen([sys.executable, "-c", code], stdin=theirs)
    assert channel.recv(1) == b"1"
    assert process.poll() is None
    channel.close()
    began = time.monotonic()
    assert process.wait(10) == 1
    assert time.monotonic() - began < 5

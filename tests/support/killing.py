"""A run that is killed again and again, each session of it a process of its own."""

from __future__ import annotations

import io
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from support.runs import run

from e3frame.config.run import RunConfig
from e3frame.spec.validate import validate


def session(raw: dict[str, Any], folder: Path) -> None:
    """The same command in the same folder."""
    torch.set_num_threads(1)
    run(validate(RunConfig, raw), folder, Console(file=io.StringIO()))


def run_and_kill(raw: dict[str, Any], whole: Path, killed: Path, kills: int, steps: int, seed: int) -> list[int]:
    """Run once undisturbed in ``whole``, and once with so many kills in ``killed``.

    Args:
        raw: the run.
        whole, killed: folders.
        kills: sessions that get SIGKILL, a random time after a random step, some of them before they train.
        steps: of the whole run.
        seed: of the moments.

    Returns:
        The step of the newest checkpoint after each kill.
    """
    moments = random.Random(seed)
    reached: list[int] = []
    with _forkserver() as context:
        _whole(context, raw, whole)
        while len(reached) < kills:
            early = moments.random() < 0.15
            target = 0 if early else moments.uniform(len(reached), len(reached) + 1) * steps / (kills + 1)
            process = context.Process(target=session, args=(raw, killed))
            process.start()
            while newest_step(killed) < target and process.is_alive():
                time.sleep(0.002)
            process.join(moments.uniform(0, 1.0 if early else 0.1))
            if process.exitcode is None:
                os.kill(process.pid, signal.SIGKILL)
            process.join()
            assert process.exitcode == -signal.SIGKILL, f"the run ended ({process.exitcode}) after {len(reached)} kills"
            reached.append(newest_step(killed))
        _whole(context, raw, killed)
    return reached


def newest_step(folder: Path) -> int:
    """The step of the newest checkpoint of a run."""
    steps = [int(path.stem.removeprefix("step-")) for path in (folder / "checkpoints").glob("*.ckpt")]
    return max(steps, default=0)


def _whole(context: ForkServerContext, raw: dict[str, Any], folder: Path) -> None:
    process = context.Process(target=session, args=(raw, folder))
    process.start()
    process.join()
    assert process.exitcode == 0


@contextmanager
def _forkserver() -> Iterator[ForkServerContext]:
    """Processes that begin with everything imported, so that a session costs what the run costs."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (Path(__file__).parents[1], Path(__file__).parents[2])))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["support.killing", "e3frame.run.report"])
    try:
        yield context
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before

"""A fuzzer: many damaged inputs, each run in a process of its own, each judged by what a user would see.

An area of the product (configs, models, checkpoints, data, native calls) is one file in ``tests/fuzz/`` that defines
``AREA``. ``make test`` runs a few cases of each, ``scripts/fuzz.py`` as many as are asked for.
"""

from __future__ import annotations

import faulthandler
import os
import re
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

CPU_SECONDS = 5
WALL_SECONDS = 60
MEMORY = 4 << 30
"""Limits of one case; of memory, beyond what the process has when the case begins."""

_TRACEBACK, _DIED = 70, 71
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Case:
    """One damaged input.

    Args:
        name: what was done to the input, to find it again.
        run: runs it, in a process of its own, and returns an exit code; what it prints is looked at. Anything that it
            raises is a traceback.
        verdict: looks at the outcome and returns what is wrong with it, or None.
    """

    name: str
    run: Callable[[], int]
    verdict: Callable[[Outcome], str | None] = field(default=lambda outcome: None)


@dataclass(frozen=True)
class Outcome:
    """What a user would see."""

    code: int
    signal: int | None
    output: str
    seconds: float


@dataclass(frozen=True)
class Area:
    """A part of the product that is given damaged inputs.

    Args:
        prepare: makes what all cases share in an empty folder, and imports what they use; called once.
        case: the case of one number, made from its own random numbers, in a folder of its own. It must be the same
            whenever it is called with the same state, seed and number.
        placed: a message must begin with a place: a file, a key, an override.
        lines: the longest message, in lines.
        cases: how many of them the tests run; fewer, where one takes longer.
    """

    name: str
    prepare: Callable[[Path], Any]
    case: Callable[[Any, Random, int, Path], Case]
    placed: bool = True
    lines: int = 12
    cases: int = 60


@dataclass(frozen=True)
class Failure:
    number: int
    case: str
    problem: str
    output: str


def fuzz(area: Area, numbers: range, seed: int = 0, folder: Path | None = None) -> Iterator[Failure | None]:
    """Run the cases of these numbers; a failure, or None, for each."""
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=folder) as name:
        root = Path(name)
        shared = root / "shared"
        shared.mkdir()
        state = area.prepare(shared)
        for number in numbers:
            own = root / str(number)
            own.mkdir()
            case = area.case(state, Random(f"{area.name} {seed} {number}"), number, own)
            outcome = run_apart(case.run, own)
            problem = judge(area, outcome) or case.verdict(outcome)
            yield None if problem is None else Failure(number, case.name, problem, outcome.output)
            _remove(own)


def judge(area: Area, outcome: Outcome) -> str | None:
    """What is wrong with an outcome for any input whatever, or None."""
    if outcome.signal is not None:
        name = signal.Signals(outcome.signal).name
        return f"no answer within {CPU_SECONDS} s of CPU" if name == "SIGXCPU" else f"died of {name}"
    if outcome.code == _TRACEBACK or "Traceback (most recent call last)" in outcome.output:
        return "a traceback"
    if outcome.code not in (0, 1, 2):
        return f"exit code {outcome.code}"
    if _CONTROL.search(outcome.output):
        return "control characters in the output"
    if outcome.code:
        lines = outcome.output.strip().splitlines()
        if not lines:
            return "no message"
        if len(lines) > area.lines:
            return f"a message of {len(lines)} lines"
        if area.placed and not _places(lines[0]):
            return "a message without a place"
    return None


def _places(line: str) -> bool:
    """Whether the first line of a message names a file, a key, an override or an option."""
    return bool(re.search(r"[\w./*-]+\.\w+|\w/\w|^[~/]\w|command-line|--\w+|^\w+=|defaults list", line))


def run_apart(call: Callable[[], int], folder: Path) -> Outcome:
    """Run ``call`` in a forked process, within limits, in ``folder``; its standard output and error together."""
    log = folder.with_name(f"{folder.name}.log")
    sys.stdout.flush()
    sys.stderr.flush()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _child(call, folder, log)
    status = _wait(child, began + WALL_SECONDS)
    output = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    log.unlink(missing_ok=True)
    died = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
    return Outcome(code, died, output, time.monotonic() - began)


def _wait(child: int, deadline: float) -> int:
    pidfd = os.pidfd_open(child)
    try:
        if not select.select([pidfd], [], [], max(deadline - time.monotonic(), 0))[0]:
            os.kill(child, signal.SIGXCPU)  # it sleeps, or waits for what never comes
            if not select.select([pidfd], [], [], 5)[0]:
                os.kill(child, signal.SIGKILL)
        return os.waitpid(child, 0)[1]
    finally:
        os.close(pidfd)


def _child(call: Callable[[], int], folder: Path, log: Path) -> None:
    """Never returns."""
    code = _DIED
    try:
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, number in ((null, 0), (target, 1), (target, 2)):
            os.dup2(source, number)
        os.chdir(folder)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", closefd=False, encoding="utf-8") for n in (1, 2))
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        faulthandler.disable()  # it would write to what standard error was before
        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        limit = int(used) + CPU_SECONDS + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        room = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            code = int(call())
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
            code = _TRACEBACK
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _remove(folder: Path) -> None:
    """A folder with whatever strange files a case left in it."""
    for place, folders, files in os.walk(folder, topdown=False):
        for name in files:
            os.unlink(os.path.join(place, name))
        for name in folders:
            path = os.path.join(place, name)
            os.unlink(path) if os.path.islink(path) else os.rmdir(path)
    os.rmdir(folder)

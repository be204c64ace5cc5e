"""Starts, watches and replaces the workers on this machine, and shows the progress of the search."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.live import Live

from e3frame.files.written import open_log
from e3frame.spec.errors import UserError
from e3frame.spec.signals import hangup
from e3frame.sweep.study import Search
from e3frame.sweep.table import outcome, summary, trial_table
from e3frame.sweep.trials import Trial

_REFRESH = 1.0
"""Seconds between updates."""
_PATIENCE = 30.0
"""Seconds that workers get to stop."""


@dataclass
class Launcher:
    """Runs workers until the search is over.

    Args:
        search: the study, which is only read.
        command: starts a worker, with the number of this process appended.
        console: where the table is shown.
    """

    search: Search
    command: Sequence[str]
    console: Console
    _processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict, init=False)
    _printed: set[int] = field(default_factory=set, init=False)

    def run(self) -> bool:
        """Run until the search is over; return False if a signal stopped it. All workers have ended then.

        Raises:
            UserError: a worker gave up, with the reason; the others are stopped.
        """
        trials = self.search.trials()
        if self.search.is_over(trials):
            return True
        self._printed = {trial.number for trial in trials if _finished(trial)}
        with _signals() as asked:
            try:
                for number in range(self.search.spec.workers):
                    self._start(number)
                self._watch(asked)
            finally:
                self._end(asked)
        return not asked

    def _watch(self, asked: list[int]) -> None:
        with self._shown() as show:
            while self._processes and not asked:
                time.sleep(_REFRESH)
                self._replace()
                show(self.search.trials())
            show(self.search.trials())

    def _start(self, number: int) -> None:
        with open_log(self._log(number), append=True) as log:
            self._processes[number] = subprocess.Popen(
                [*self.command, str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # signals, also those of the terminal, are passed on from here
            )

    def _log(self, number: int) -> Path:
        return self.search.folder / f"worker_{number}.log"

    def _replace(self) -> None:
        """Replace workers that were killed, by the system for their memory or by hand."""
        for number, process in list(self._processes.items()):
            code = process.poll()
            if code is None:
                continue
            del self._processes[number]
            if code < 0:
                self.console.print(f"worker {number} was killed by signal {-code}; starting a new one")
                self._start(number)
            elif code > 0:
                raise UserError(self._last_words(number))

    def _last_words(self, number: int) -> str:
        text = self._log(number).read_text(encoding="utf-8", errors="replace").strip()
        message = text.rsplit("\n\n", 1)[-1].splitlines()
        return "\n".join(message[-8:]) or f"worker {number} ended without a message"

    def _end(self, asked: list[int]) -> None:
        """Stop the workers, which queue their trials again; kill them at a second signal or after a timeout."""
        for process in self._processes.values():
            process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + _PATIENCE
        while any(process.poll() is None for process in self._processes.values()):
            if len(asked) > 1 or time.monotonic() > deadline:
                for process in self._processes.values():
                    process.kill()
            time.sleep(0.1)

    @contextmanager
    def _shown(self) -> Iterator[Callable[[list[Trial]], None]]:
        """Show a live table in a terminal, else one line for each finished trial."""
        spec, console = self.search.spec, self.console
        if not console.is_terminal:
            yield self._lines
            return
        with Live(console=console, auto_refresh=False, transient=True) as live:  # the report prints the final one
            yield lambda trials: live.update(trial_table(trials, spec, console.height - 4), refresh=True)

    def _lines(self, trials: list[Trial]) -> None:
        spec, console = self.search.spec, self.console
        for trial in trials:
            if _finished(trial) and trial.number not in self._printed and trial.outcome != "withdrawn":
                self._printed.add(trial.number)
                values = "".join(
                    f"  {name} {value:.4g}" for name, value in zip(spec.objectives, trial.values or (), strict=False)
                )
                line = f"trial {trial.number}  {outcome(trial)}{values}"
                console.print(f"{line}    [{summary(trials, spec)}]", highlight=False, markup=False, soft_wrap=True)


def _finished(trial: Trial) -> bool:
    return trial.outcome not in ("waiting", "running")


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals received; SIGTERM and SIGHUP stop the search like SIGINT."""
    asked: list[int] = []
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, *hangup())}
    for number in kept:
        signal.signal(number, lambda which, _: asked.append(which))
    try:
        yield asked
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def worker_command(arguments: Sequence[str]) -> list[str]:
    """The command line of a worker, with the arguments of this command."""
    return [sys.executable, "-m", "e3frame.cli", "sweep", *arguments, "--worker"]


def threads(workers: int) -> int:
    """Threads of each worker: its share of the cores that this process may use, or OMP_NUM_THREADS."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(given) if given.isdigit() and int(given) else max(1, cores // workers)

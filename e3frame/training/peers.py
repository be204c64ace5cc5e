"""Further processes of a training on this machine: started, waited for, and asked why they ended."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from e3frame.spec.errors import UserError

DEFECT = 1
"""Exit code of a process that ended with a traceback, as by a broken connection."""
MISTAKE = 2
"""Exit code of a process that ended with a UserError, whose message is all it said."""
_PATIENCE = 10.0
"""Seconds from a broken connection to the end of the process that broke it."""
_CHANNEL = "E3FRAME_CHANNEL"
"""Set where the standard input is a socket to the first process."""


@dataclass
class Peer:
    """A process that trains along.

    Attributes:
        number: among the processes, from 1 on.
        channel: it writes here once it is ready, and ends when this end is closed.
        log: all it says.
    """

    number: int
    process: subprocess.Popen[bytes]
    channel: socket.socket
    log: IO[bytes]

    @classmethod
    def start(cls, number: int, folder: Path, checkpoint: Path | None, plugins: Sequence[str]) -> Peer:
        """Train along in a process of its own, from a checkpoint or from the start."""
        command = [sys.executable, "-m", "e3frame.run.worker", str(folder), str(checkpoint or ""), *plugins]
        # The modules of this process, and no others that lie in the current folder.
        modules = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
        own = {**modules, "RANK": str(number), "LOCAL_RANK": str(number), _CHANNEL: "1"}
        channel, theirs = socket.socketpair()
        log = tempfile.TemporaryFile()  # noqa: SIM115
        with theirs:
            process = subprocess.Popen(command, env={**os.environ, **own}, stdin=theirs, stdout=log, stderr=log)
        return cls(number, process, channel, log)

    def end(self) -> None:
        """End it at once, unless it has ended."""
        self.process.kill()
        self.process.wait()
        self.channel.close()
        self.log.close()

    def failure(self) -> UserError | None:
        """Why it ended before its time; None of one that runs, or is through."""
        code = self.process.poll()
        if not code:
            return None
        self.log.seek(0)
        said = self.log.read().decode(errors="replace").strip()
        if code == MISTAKE:
            return UserError(said)
        name = f"process {self.number} of this training"
        again = "the same command goes on from the last checkpoint"
        if code > 0:
            return UserError(f"{name} failed\n  {(said.splitlines() or ['without a word'])[-1]}\n  {again}")
        killed = f"{name} was killed by {signal.Signals(-code).name}"
        memory = ", as a machine does that is short of memory" if -code == signal.SIGKILL else ""
        return UserError(f"{killed}{memory}\n  {again}")


def wait_until_ready(peers: Sequence[Peer]) -> None:
    """Wait until all have read their data and built their model: from then on, the loss of one breaks a connection.

    Raises:
        UserError: one of them ended.
    """
    waiting = {peer.channel: peer for peer in peers}
    while waiting:
        for channel in select.select(list(waiting), [], [])[0]:
            peer = waiting.pop(channel)
            if not channel.recv(1):
                peer.process.wait()
                raise peer.failure() or UserError(f"process {peer.number} of this training ended before it began")


def failure(peers: Sequence[Peer]) -> UserError | None:
    """Why the first of them ended that did, once a connection is broken; None if all run on.

    One that was killed or made a mistake comes first: others may have ended because of it.
    """
    began = time.monotonic()
    while peers and (waited := time.monotonic() - began) < _PATIENCE:
        found = [(peer.process.poll() == DEFECT, reason) for peer in peers if (reason := peer.failure())]
        first = min(found, key=lambda pair: pair[0], default=None)
        if first is not None and (not first[0] or waited > _PATIENCE / 5):
            return first[1]
        time.sleep(0.05)
    return None


def is_peer() -> bool:
    """Whether :meth:`Peer.start` started this process."""
    return _CHANNEL in os.environ


def say_ready() -> None:
    """Tell the first process that this one is ready; from here on, end with it."""
    channel = socket.socket(fileno=os.dup(0))
    channel.sendall(b"1")
    threading.Thread(target=_end_with, args=(channel,), daemon=True).start()


def _end_with(channel: socket.socket) -> None:
    try:
        channel.recv(1)
    finally:
        os._exit(1)

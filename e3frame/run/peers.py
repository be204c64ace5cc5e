"""Starts and ends further processes of a training on this machine, and finds out why one of them failed."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch

from e3frame.config.trainer import TrainerSpec
from e3frame.spec.errors import UserError
from e3frame.training.processes import rank, started_elsewhere

DEFECT = 1
"""Exit code of a process that ended with a traceback, for example because a connection broke."""
MISTAKE = 2
"""Exit code of a process that ended with a UserError, whose message is all it printed."""
_PATIENCE = 10.0
"""Seconds to wait for the end of the process that broke a connection."""
_CHANNEL = "E3FRAME_CHANNEL"
"""Environment variable that is set if the standard input is a socket to the first process."""
_VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
_BROKEN = re.compile("gloo|nccl|socket|connection|peer|store", re.IGNORECASE)
"""Words in the messages of torch.distributed when another process has ended."""


@dataclass
class Peer:
    """A further process of this training.

    Attributes:
        number: its number among the processes, from 1 on.
        process: the process.
        channel: it writes here when it is ready, and ends when this end is closed.
        log: all that it prints.
    """

    number: int
    process: subprocess.Popen[bytes]
    channel: socket.socket
    log: IO[bytes]

    @classmethod
    def start(cls, number: int, folder: Path, checkpoint: Path | None, plugins: Sequence[str]) -> Peer:
        """Start a further process of the training, from a checkpoint or from the beginning."""
        command = [sys.executable, "-m", "e3frame.run.worker", str(folder), str(checkpoint or ""), *plugins]
        # The modules of this process, and no others from the current folder.
        modules = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
        own = {**modules, "RANK": str(number), "LOCAL_RANK": str(number), _CHANNEL: "1"}
        channel, theirs = socket.socketpair()
        log = tempfile.TemporaryFile()  # noqa: SIM115
        with theirs:
            process = subprocess.Popen(
                command, env={**os.environ, **own}, stdin=theirs.fileno(), stdout=log, stderr=log
            )
        return cls(number, process, channel, log)

    def end(self) -> None:
        """End the process at once, unless it has ended."""
        self.process.kill()
        self.process.wait()
        self.channel.close()
        self.log.close()

    def failure(self) -> UserError | None:
        """Return why the process failed; None: it still runs, or has finished."""
        code = self.process.poll()
        if not code:
            return None
        self.log.seek(0)
        printed = self.log.read().decode(errors="replace").strip()
        if code == MISTAKE:
            return UserError(printed)
        name = f"process {self.number} of this training"
        again = "run the same command again to resume from the last checkpoint"
        if code > 0:
            return UserError(f"{name} failed\n  {(printed.splitlines() or ['it printed nothing'])[-1]}\n  {again}")
        killed = f"{name} was killed by {signal.Signals(-code).name}"
        memory = ", probably because the machine ran out of memory" if -code == signal.SIGKILL else ""
        return UserError(f"{killed}{memory}\n  {again}")


def wait_until_ready(peers: Sequence[Peer]) -> None:
    """Wait until all have read their data and built their model; from then on, the end of one breaks a connection.

    Raises:
        UserError: one of them ended.
    """
    waiting = {peer.channel: peer for peer in peers}
    while waiting:
        for channel in select.select(list(waiting), [], [])[0]:
            peer = waiting.pop(channel)
            if not channel.recv(1):
                peer.process.wait()
                raise peer.failure() or UserError(
                    f"process {peer.number} of this training ended before training started"
                )


def failure(peers: Sequence[Peer]) -> UserError | None:
    """Return why a process failed, after a connection broke; None: all of them still run.

    A process that was killed or that met a user's mistake comes first: others may have ended because of it.
    """
    began = time.monotonic()
    while peers and (waited := time.monotonic() - began) < _PATIENCE:
        found = [(peer.process.poll() == DEFECT, reason) for peer in peers if (reason := peer.failure())]
        first = min(found, key=lambda pair: pair[0], default=None)
        if first is not None and (not first[0] or waited > _PATIENCE / 5):
            return first[1]
        time.sleep(0.05)
    return None


@contextmanager
def together(spec: TrainerSpec, folder: Path, start: Path | None, plugins: Sequence[str] = ()) -> Iterator[None]:
    """Start the other processes, unless torchrun or srun has, and end them when the block is done.

    Args:
        spec: says how many processes there are.
        folder: folder of the run, which already holds ``config.yaml``.
        start: the checkpoint to continue from.
        plugins: plugins of the model, which this process has imported.

    Raises:
        UserError: one of them failed.
    """
    if spec.world == 1:
        yield
        return
    peers: list[Peer] = []
    before = {name: os.environ.get(name) for name in _VARIABLES}
    try:
        if is_peer():
            say_ready()
        elif not started_elsewhere():
            _open_address()
            peers += [Peer.start(number, folder, start, plugins) for number in range(1, spec.devices)]
            wait_until_ready(peers)
        try:
            yield
        except RuntimeError as error:  # torch.distributed's, when a peer is gone
            raise _reason(error, peers, spec) from error
        for peer in peers:
            peer.process.wait()
    finally:
        for peer in peers:
            peer.end()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _open_address() -> None:
    """Set the environment variables by which processes of this machine find each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(NODE_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), LOCAL_RANK="0", RANK="0")


def _reason(error: RuntimeError, peers: Sequence[Peer], spec: TrainerSpec) -> Exception:
    """Return why a training with several processes failed: the message of the first one to fail, or ``error``."""
    if is_peer() or not _BROKEN.search(str(error)):
        return error
    if peers:
        return failure(peers) or error
    number = f"process {rank(spec)} of {spec.world}"
    return UserError(f"{number}: another process of this training has failed\n  see its message")


def is_peer() -> bool:
    """Whether :meth:`Peer.start` started this process."""
    return _CHANNEL in os.environ


def say_ready() -> None:
    """Tell the first process that this one is ready; from now on, this one ends with it."""
    channel = socket.socket(fileno=os.dup(0))
    channel.sendall(b"1")
    threading.Thread(target=_end_with, args=(channel,), daemon=True).start()


def _end_with(channel: socket.socket) -> None:
    try:
        channel.recv(1)
    finally:
        os._exit(1)

"""Several processes that train one model: who they are, and starting them on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from e3frame.spec.errors import UserError
from e3frame.train.trainer import TrainerSpec

_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


def started_elsewhere() -> bool:
    """Whether torchrun, srun or :func:`together` started this process as one of several."""
    return "LOCAL_RANK" in os.environ or int(os.environ.get("SLURM_NTASKS", 1)) > 1


def rank(spec: TrainerSpec) -> int:
    """The number of this process among those that train together."""
    if spec.world == 1 or not started_elsewhere():
        return 0
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or os.environ["LOCAL_RANK"])


@contextmanager
def together(spec: TrainerSpec, folder: Path, start: Path | None, plugins: Sequence[str] = ()) -> Iterator[None]:
    """Start the other processes, unless something else did, and end them when this one is through.

    Args:
        spec: how many there are.
        folder: of the run; holds ``config.yaml`` already.
        start: the checkpoint to go on from.
        plugins: of the model, imported in this process already.

    Raises:
        UserError: one of them ended before its time.
    """
    if spec.world == 1:
        yield
        return
    others: list[subprocess.Popen[bytes]] = []
    before = {name: os.environ.get(name) for name in _VARIABLES}
    try:
        if not started_elsewhere():
            others = _start(spec.devices, folder, start, plugins)
        try:
            yield
        except RuntimeError as error:  # torch.distributed's, when a peer is gone
            if any(other.poll() for other in others):
                raise UserError("another process of this training has ended; its message is above") from error
            raise
        for other in others:
            other.wait()
    finally:
        for other in others:
            other.kill()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _start(devices: int, folder: Path, start: Path | None, plugins: Sequence[str]) -> list[subprocess.Popen[bytes]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = {"NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.update(address, LOCAL_RANK="0")
    # The modules of this process, and no others that lie in the current folder.
    shared = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "e3frame.train.worker", str(folder), str(start or ""), *plugins]
    return [subprocess.Popen(command, env={**shared, "LOCAL_RANK": str(number)}) for number in range(1, devices)]

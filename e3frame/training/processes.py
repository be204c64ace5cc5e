"""Several processes that train one model: who they are, and starting them on this machine."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.pytorch.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from e3frame.config.trainer import TrainerSpec
from e3frame.spec.errors import SpecError, UserError
from e3frame.spec.words import counted
from e3frame.training.peers import Peer, failure, is_peer, say_ready, wait_until_ready

_VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
_BROKEN = re.compile("gloo|nccl|socket|connection|peer|store", re.IGNORECASE)
"""In what torch.distributed says when another process is gone."""


def started_elsewhere() -> bool:
    """Whether torchrun, srun or :func:`together` started this process as one of several."""
    return "LOCAL_RANK" in os.environ or int(os.environ.get("SLURM_NTASKS", 1)) > 1


def rank(spec: TrainerSpec) -> int:
    """The number of this process among those that train together."""
    if spec.world == 1 or not started_elsewhere():
        return 0
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or os.environ["LOCAL_RANK"])


def accelerator(spec: TrainerSpec) -> str:
    """``gpu`` or ``cpu``. Lightning's auto would take Apple's GPUs too, which have no float64 for the sums of energies.

    Raises:
        SpecError: there are not as many GPUs here as the config asks for.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if spec.accelerator == "cpu" or (spec.accelerator == "auto" and not there):
        return "cpu"
    if not there:
        raise SpecError(("trainer", "accelerator"), "there is no CUDA GPU here", "write auto or cpu")
    if spec.devices > there:
        problem = (
            f"{spec.devices} are asked for, and there {'is' if there == 1 else 'are'} {counted(there, 'GPU')} here"
        )
        raise SpecError(("trainer", "devices"), problem, f"write {there}, or trainer.accelerator=cpu")
    return "gpu"


def environment(spec: TrainerSpec) -> ClusterEnvironment:
    """How processes find each other. Lightning's own choice takes every process of a Slurm job for one of srun's."""
    if spec.world > 1 and TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if spec.world > 1 and int(os.environ.get("SLURM_NTASKS", 1)) > 1:
        _require_tasks(spec)
        return SLURMEnvironment(auto_requeue=False)  # Signals does that
    return LightningEnvironment()


def _require_tasks(spec: TrainerSpec) -> None:
    """Raises SpecError unless Slurm starts as many processes on each machine as the config says."""
    tasks = os.environ.get("SLURM_NTASKS_PER_NODE", "").partition("(")[0]
    given = (tasks or "not set", os.environ.get("SLURM_NNODES", "1"))
    if given != (str(spec.devices), str(spec.num_nodes)):
        problem = f"the Slurm job has --ntasks-per-node {given[0]} and --nodes {given[1]}"
        asked = f"--ntasks-per-node={spec.devices} --nodes={spec.num_nodes}"
        raise SpecError(
            ("trainer", "devices"), problem, f"give sbatch and srun {asked}, or change devices and num_nodes"
        )


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
    """Say where processes of this machine find each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(NODE_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), LOCAL_RANK="0", RANK="0")


def _reason(error: RuntimeError, peers: Sequence[Peer], spec: TrainerSpec) -> Exception:
    """Why a training with several processes broke: what the one that ended first has said, or the error itself."""
    if is_peer() or not _BROKEN.search(str(error)):
        return error
    if peers:
        return failure(peers) or error
    number = f"process {rank(spec)} of {spec.world}"
    return UserError(f"{number}: another process of this training has ended\n  its own message says why")

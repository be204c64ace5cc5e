"""Several processes that train one model: which of them this one is, its device, and how they find each other."""

from __future__ import annotations

import os

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from e3frame.config.trainer import TrainerSpec
from e3frame.spec.errors import SpecError
from e3frame.spec.words import counted


def started_elsewhere() -> bool:
    """Whether torchrun, srun or :func:`e3frame.run.peers.together` started this process as one of several."""
    return "LOCAL_RANK" in os.environ or int(os.environ.get("SLURM_NTASKS", 1)) > 1


def rank(spec: TrainerSpec) -> int:
    """Return the number of this process among those that train together."""
    if spec.world == 1 or not started_elsewhere():
        return 0
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or os.environ["LOCAL_RANK"])


def accelerator(spec: TrainerSpec) -> str:
    """Return ``gpu`` or ``cpu``.

    Lightning's own ``auto`` would also choose Apple's GPUs, which have no float64 for the sums of energies.

    Raises:
        SpecError: this machine has fewer GPUs than the config asks for.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if spec.accelerator == "cpu" or (spec.accelerator == "auto" and not there):
        return "cpu"
    if not there:
        raise SpecError(("trainer", "accelerator"), "there is no CUDA GPU here", "write auto or cpu")
    if spec.devices > there:
        problem = f"trainer.devices is {spec.devices}, but this machine has {counted(there, 'GPU')}"
        raise SpecError(("trainer", "devices"), problem, f"write {there}, or trainer.accelerator=cpu")
    return "gpu"


def environment(spec: TrainerSpec) -> ClusterEnvironment:
    """Return how the processes find each other.

    Lightning's own choice takes every process in a Slurm job for one that srun has started.
    """
    if spec.world > 1 and TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if spec.world > 1 and int(os.environ.get("SLURM_NTASKS", 1)) > 1:
        _require_tasks(spec)
        return SLURMEnvironment(auto_requeue=False)  # Signals does that
    return LightningEnvironment()


def _require_tasks(spec: TrainerSpec) -> None:
    """Raise SpecError unless Slurm starts as many processes on each machine as the config says."""
    tasks = os.environ.get("SLURM_NTASKS_PER_NODE", "").partition("(")[0]
    given = (tasks or "not set", os.environ.get("SLURM_NNODES", "1"))
    if given != (str(spec.devices), str(spec.num_nodes)):
        problem = f"the Slurm job has --ntasks-per-node {given[0]} and --nodes {given[1]}"
        asked = f"--ntasks-per-node={spec.devices} --nodes={spec.num_nodes}"
        raise SpecError(
            ("trainer", "devices"), problem, f"give sbatch and srun {asked}, or change devices and num_nodes"
        )

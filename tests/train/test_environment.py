"""Who a process is among those that train together, by whatever started it."""

from __future__ import annotations

import pytest
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment

from e3frame.config.trainer import TrainerSpec
from e3frame.spec.errors import SpecError
from e3frame.training.processes import environment, rank, started_elsewhere

SLURM = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "job", "SLURM_NODEID": "0"}
ONE_TASK = {**SLURM, "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
TWO_TASKS = {
    **SLURM,
    **{"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1"},
    **{"SLURM_PROCID": "1", "SLURM_LOCALID": "1"},
}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
STARTED = {"RANK": "1", "LOCAL_RANK": "1"}
CASES = {
    "alone": ({}, 2, 0, False, LightningEnvironment),
    "in a job of one task": (ONE_TASK, 2, 0, False, LightningEnvironment),
    "started along, in a job of one task": ({**ONE_TASK, **STARTED}, 2, 1, True, LightningEnvironment),
    "by srun": (TWO_TASKS, 2, 1, True, SLURMEnvironment),
    "by torchrun": (TORCHRUN, 2, 1, True, TorchElasticEnvironment),
    "by torchrun in a job": ({**TWO_TASKS, **TORCHRUN, "SLURM_PROCID": "0"}, 2, 1, True, TorchElasticEnvironment),
    "one process in a job of two tasks": (TWO_TASKS, 1, 0, True, LightningEnvironment),
}


@pytest.mark.parametrize("case", CASES)
def test_who_a_process_is(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables, devices, number, elsewhere, kind = CASES[case]
    for name in {**TWO_TASKS, **TORCHRUN}:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    spec = TrainerSpec(devices=devices)
    assert (rank(spec), started_elsewhere(), type(environment(spec))) == (number, elsewhere, kind)
    if kind is SLURMEnvironment:
        assert not environment(spec).auto_requeue


@pytest.mark.parametrize(
    ("variables", "given"),
    [
        ({}, "--ntasks-per-node not set and --nodes 1"),
        ({"SLURM_NTASKS_PER_NODE": "4"}, "--ntasks-per-node 4 and --nodes 1"),
        ({"SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "2"}, "--ntasks-per-node 2 and --nodes 2"),
    ],
)
def test_a_job_of_another_size(variables: dict[str, str], given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {**TWO_TASKS, **TORCHRUN}:
        monkeypatch.delenv(name, raising=False)
    for name, value in {**SLURM, "SLURM_NTASKS": "2", **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SpecError) as caught:
        environment(TrainerSpec(devices=2))
    assert str(caught.value) == (
        f"trainer.devices\n  the Slurm job has {given}\n"
        "  give sbatch and srun --ntasks-per-node=2 --nodes=1, or change devices and num_nodes"
    )

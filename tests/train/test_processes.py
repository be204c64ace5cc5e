"""Two processes that train one model, against one process with the same batches."""

from __future__ import annotations

import os
import signal
from itertools import chain
from pathlib import Path

import pytest
import torch
from rich.console import Console
from support.runs import MakeConfig
from support.state import history, results
from torch import Tensor
from torch_geometric.data import Batch

from e3frame.data.pipeline.loader import make_loader
from e3frame.data.pipeline.sampling import Place
from e3frame.inference.saved import load_model
from e3frame.run.training import run
from e3frame.train.module import Training
from e3frame.train.signals import Interrupted

# 41 frames in batches of 8: the last batch is of one frame, and the second process has none of it.
CHANGES = {"data.num_train": 41, "trainer.dtype": "float64", "trainer.max_epochs": 2}
TWO = {"trainer.devices": 2, "trainer.accelerator": "cpu"}


def assert_close_runs(first: Path, second: Path) -> None:
    """Equal up to the order of sums, which float64 makes a matter of the last digits."""
    for one, other in zip(history(first), history(second), strict=True):
        assert one.keys() == other.keys()
        for key in one:
            assert float(one[key]) == pytest.approx(float(other[key]), rel=1e-6), key
    weights = [load_model(folder / "model.safetensors").state_dict() for folder in (first, second)]
    torch.testing.assert_close(*weights, rtol=1e-8, atol=1e-10)
    frames = [
        {split: results(folder)[split]["frames"] for split in ("train", "val", "test")} for folder in (first, second)
    ]
    assert frames[0] == frames[1]


def test_two_processes_train_what_one_trains(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, console = make_config(CHANGES), make_config({**CHANGES, **TWO}), Console(quiet=True)
    run(one, tmp_path / "one", console)
    original = Training.training_step

    def interrupted(self: Training, batch: Batch, index: int) -> Tensor:
        if self.global_step == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, index)

    # Two processes, stopped within an epoch; one goes on.
    monkeypatch.setattr(Training, "training_step", interrupted)
    with pytest.raises(Interrupted, match="after step 8"):
        run(two, tmp_path / "two then one", console)
    monkeypatch.undo()
    assert not torch.distributed.is_initialized()
    assert "LOCAL_RANK" not in os.environ
    run(one, tmp_path / "two then one", console)
    assert_close_runs(tmp_path / "one", tmp_path / "two then one")
    # One process for an epoch; two go on.
    start = tmp_path / "one" / "checkpoints" / "step-000000006.ckpt"
    run(two.replace(ckpt=str(start)), tmp_path / "one then two", console)
    assert_close_runs(tmp_path / "one", tmp_path / "one then two")


def test_two_processes_share_a_budget(make_config: MakeConfig, tmp_path: Path) -> None:
    """Batches of two or three frames, from disk."""
    changes = {**CHANGES, "data.batch_size": {"edges": 250}, "data.eval_batch_size": {"atoms": 50}}
    console = Console(quiet=True)
    run(make_config(changes), tmp_path / "one", console)
    run(make_config({**changes, **TWO, "data.storage": "disk"}), tmp_path / "two", console)
    assert_close_runs(tmp_path / "one", tmp_path / "two")


def test_each_frame_belongs_to_one_process(make_config: MakeConfig) -> None:
    config = make_config(CHANGES)
    splits = config.data.load(config.model.r_max, config.task.labels)

    def frames(place: Place, seed: int | None) -> list[list[int]]:
        loader = make_loader(splits.train, 8, seed=seed, place=place)
        batches = [batch.frame.tolist() for batch in loader]
        surplus = getattr(loader.batch_sampler, "surplus", ())
        return [[] if index in surplus else batch for index, batch in enumerate(batches)]

    for seed in (0, None):
        whole = list(chain(*frames(Place(), seed)))
        parts = [chain(*frames(Place(rank=rank, world=3), seed)) for rank in range(3)]
        assert sorted(chain(*parts)) == sorted(whole)
    later = frames(Place(batch=4), 0)
    assert later == frames(Place(), 0)[4:]


def test_more_processes_than_frames_in_a_batch(make_config: MakeConfig) -> None:
    from e3frame.spec.errors import SpecError

    with pytest.raises(SpecError) as caught:
        make_config({**TWO, "data.batch_size": 1}).typed()
    assert str(caught.value) == "data.batch_size\n  must be at least the number of processes, 2; got 1"

"""Two processes that train one model, against one process with the same batches."""

from __future__ import annotations

import os
import signal
import sys
from itertools import chain
from pathlib import Path

import pytest
import torch
from rich.console import Console
from support.runs import MakeConfig, changed, run
from support.state import history, results
from torch import Tensor
from torch_geometric.data import Batch

from e3frame.config.run import RunConfig
from e3frame.data.pipeline.batches import Place
from e3frame.data.pipeline.loader import load
from e3frame.data.pipeline.module import make_loader
from e3frame.inference.saved import load_model
from e3frame.spec.layer import LayerSpec
from e3frame.spec.validate import validate
from e3frame.training.module import Training
from e3frame.training.signals import Interrupted

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
    splits = load(config.data, config.model.r_max, config.task.labels)

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


PLUGIN = """
import os
from pathlib import Path
from typing import ClassVar, Literal
from e3frame.spec.layer import LayerSpec, Signature, TensorType

with Path("imported").open("a") as file:
    file.write(f"{os.getpid()}\\n")

class Scale(LayerSpec):
    \"\"\"One learned number for each species' scalars.\"\"\"
    kind: Literal["scale_of_two_processes"] = "scale_of_two_processes"
    example: ClassVar[str] = "{kind: scale_of_two_processes}"
    def infer(self, scope):
        x = scope.read(None, "node", "of")
        return Signature((x.key,), TensorType(x.irreps, "node"))
    def build(self, scope):
        import torch
        class Scaled(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.factor = torch.nn.Parameter(torch.ones(()))
            def forward(self, x):
                return self.factor * x
        return Scaled()
"""


def test_both_processes_import_the_plugin_that_the_user_names(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_figures: None
) -> None:
    """From the current folder, as with ``e3frame train plugins=NAME``."""
    name = "plugin_of_two_processes"
    (tmp_path / f"{name}.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    layers = {
        "species": {"kind": "species_embedding", "irreps_out": "4x0e"},
        "own": {"kind": "scale_of_two_processes"},
        "readout": {"kind": "linear", "irreps_out": "0e"},
    }
    outputs = {"energy": {"kind": "sum", "of": "readout", "per_species_scale_shift": "auto"}}
    model = {"r_max": 4.0, "plugins": [name], "layers": layers, "outputs": outputs}
    task = {"targets": {"energy": {"irreps": "0e", "per": "graph"}}}
    raw = changed({**TWO, "model": model, "task": task, "trainer.max_epochs": 1, "data.num_train": 8})
    raw["data"]["cache_dir"] = str(tmp_path / "cache")
    try:
        result = run(validate(RunConfig, raw, plugins=[name]), tmp_path / "run", Console(quiet=True))
        model = load_model(result.model)
    finally:
        LayerSpec.members.pop("scale_of_two_processes", None)
        sys.modules.pop(name, None)
    processes = (tmp_path / "imported").read_text().split()
    assert len(processes) == len(set(processes)) == 2
    assert str(os.getpid()) in processes
    assert float(model.get_parameter("layers.own.factor")) != 1.0  # it was trained

"""A short run, from its config to its last file."""

from __future__ import annotations

import csv
import io
import json
import signal
from pathlib import Path

import pytest
import torch
import yaml
from matplotlib.image import imread
from rich.console import Console
from support.runs import REMOVED, Finished, MakeConfig, run
from torch import Tensor
from torch_geometric.data import Batch

from e3frame.config.run import RunConfig
from e3frame.data.pipeline.graphs import Graph
from e3frame.data.pipeline.loader import load
from e3frame.evaluate.evaluation import evaluate_split
from e3frame.inference.saved import load_model
from e3frame.run.resume import Finished as AlreadyFinished
from e3frame.spec.errors import SpecError, UserError
from e3frame.spec.validate import validate
from e3frame.training.checkpoint import read_checkpoint
from e3frame.training.module import Training
from e3frame.training.signals import Interrupted

FILES = {
    "checkpoints",
    "config.yaml",
    "learning_curve.png",
    "metrics.csv",
    "metrics.json",
    "model.safetensors",
    "parity_energy.png",
    "parity_forces.png",
    "report.html",
}


@pytest.fixture
def console() -> Console:
    return Console(quiet=True)


def read_metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_folder_holds_every_result(finished: Finished) -> None:
    assert {path.name for path in finished.folder.iterdir()} == FILES
    names = sorted(path.name for path in (finished.folder / "checkpoints").iterdir())
    assert names == ["step-000000010.ckpt", "step-000000015.ckpt"]


def test_the_screen_tells_what_matters(finished: Finished) -> None:
    text = finished.text
    for expected in (
        "40 train, 100 val, 200 test",
        "H, C, O",
        "reference energies",
        "neighbours per atom",
        "errors on the test frames",
        "meV/atom",
        "everything is in",
        "learning_curve.png",
        "report.html",
    ):
        assert expected in text
    lines = text.splitlines()
    heads = next(n for n, line in enumerate(lines) if line.split()[:1] == ["epoch"])
    assert lines[heads - 1].split() == ["train", "val", "val", "energy", "val", "forces"]
    assert lines[heads].split() == ["epoch", "time", "lr", "loss", "loss", "MAE", "(meV/atom)", "MAE", "(meV/Å)"]
    for noise in ("GPU", "Lightning", "Tip", "Seed set", "warn"):
        assert noise not in text


def test_nothing_else_reaches_the_screen(
    make_config: MakeConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str], console: Console
) -> None:
    run(make_config({"trainer.max_epochs": 1}), tmp_path / "quiet", console)
    assert capfd.readouterr() == ("", "")


def test_metrics_csv(finished: Finished) -> None:
    rows = read_metrics(finished.folder)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["step"] for row in rows] == ["5", "10", "15"]
    assert {
        "seconds",
        "lr",
        "train_loss",
        "val_loss",
        "train_energy_mae (meV/atom)",
        "val_forces_rmse (meV/Å)",
    } <= rows[0].keys()
    assert all(cell != "" for row in rows for cell in row.values())
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert float(rows[-1]["val_loss"]) < float(rows[0]["val_loss"])


def test_metrics_json(finished: Finished) -> None:
    metrics = json.loads((finished.folder / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics) == ["train", "val", "test", "run"]
    assert [metrics[split]["frames"] for split in ("train", "val", "test")] == [40, 100, 200]
    energy, forces = metrics["test"]["energy"], metrics["test"]["forces"]
    assert (energy["unit"], forces["unit"]) == ("meV", "meV/Å")
    assert 0 < energy["mae_per_atom"] < energy["mae"] <= energy["rmse"]
    assert 0 < forces["mae"] < forces["zero_mae"]
    assert 0 < forces["rmse"] < forces["zero_rmse"]
    model = load_model(finished.result.model)
    assert metrics["run"]["parameters"] == sum(p.numel() for p in model.parameters())
    assert (metrics["run"]["epochs"], metrics["run"]["steps"]) == (3, 15)
    assert metrics["run"]["best_epoch"] in (1, 2, 3)
    assert 0 < metrics["run"]["training_seconds"] <= metrics["run"]["total_seconds"]


def test_the_best_epoch_is_the_one_of_the_lowest_validation_loss(finished: Finished) -> None:
    losses = [float(row["val_loss"]) for row in read_metrics(finished.folder)]
    metrics = json.loads((finished.folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["run"]["best_epoch"] == losses.index(min(losses)) + 1
    assert metrics["val"]["loss"] == pytest.approx(min(losses), rel=1e-6)


def test_the_written_config_is_resolved_and_starts_the_same_run(
    finished: Finished, tmp_path: Path, console: Console
) -> None:
    text = (finished.folder / "config.yaml").read_text(encoding="utf-8")
    config = validate(RunConfig, yaml.safe_load(text))
    assert "auto" not in text.replace("accelerator: auto", "")
    assert config.model.species == ("H", "C", "O")
    assert config == finished.config.replace(model=config.model)
    run(config, tmp_path / "again", console)
    for name in ("model.safetensors", "config.yaml"):
        assert (tmp_path / "again" / name).read_bytes() == (finished.folder / name).read_bytes()


def test_one_seed_gives_one_result_and_another_another(
    finished: Finished, make_config: MakeConfig, tmp_path: Path, console: Console
) -> None:
    weights = finished.result.model.read_bytes()
    assert run(make_config(), tmp_path / "same", console).model.read_bytes() == weights
    other = run(make_config({"seed": 1}), tmp_path / "other", console)
    assert other.model.read_bytes() != weights


def test_the_figures_are_figures(finished: Finished) -> None:
    for name in sorted(FILES):
        if name.endswith(".png"):
            image = imread(finished.folder / name)
            assert min(image.shape[:2]) >= 400
            assert image[..., :3].std() > 0.02  # not blank


def test_checkpoints_hold_the_whole_state(finished: Finished) -> None:
    for step in (10, 15):
        checkpoint = read_checkpoint(finished.folder / "checkpoints" / f"step-{step:09d}.ckpt")
        assert {"state_dict", "optimizer_states", "lr_schedulers", "callbacks", "loops"} <= checkpoint.state.keys()
        assert (checkpoint.step, checkpoint.done) == (step, step == 15)
        assert validate(RunConfig, checkpoint.config).model.species == ("H", "C", "O")


def test_the_saved_model_is_the_average_of_the_best_epoch(finished: Finished) -> None:
    last = read_checkpoint(finished.folder / "checkpoints" / "step-000000015.ckpt").state
    best = last["callbacks"]["Checkpoints"]["best"]
    assert best["epoch"] == 3
    saved = load_model(finished.result.model).state_dict()
    for name, tensor in saved.items():
        assert torch.equal(tensor, best["weights"][name])
        assert torch.equal(tensor, last["state_dict"][f"average.module.{name}"])
    assert any(not torch.equal(tensor, last["state_dict"][f"model.{name}"]) for name, tensor in saved.items())


def test_the_result_is_what_the_saved_model_predicts(finished: Finished) -> None:
    config = finished.config
    splits = load(config.data, config.model.r_max, config.task.labels)
    again = evaluate_split(load_model(finished.result.model), splits.test, config.task, config.data.eval_batch_size)
    first = finished.result.errors["test"]
    assert again.errors == first.errors
    assert all(
        torch.equal(again.residuals[name].prediction, first.residuals[name].prediction) for name in first.residuals
    )


def test_a_folder_with_a_run_is_left_alone(finished: Finished, console: Console) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*")}
    with pytest.raises(AlreadyFinished, match=r"first: this run is already finished"):
        run(finished.config, finished.folder, console)
    other = finished.config.replace(seed=5)
    with pytest.raises(
        UserError,
        match=r"first belongs to a run with another config\n  seed: 0 there, 5 here\n  "
        r"choose another",
    ):
        run(other, finished.folder, console)
    assert {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*")} == before


def test_a_folder_that_cannot_be_made(make_config: MakeConfig, tmp_path: Path, console: Console) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/run cannot be written: Not a directory"):
        run(make_config(), tmp_path / "file" / "run", console)


def test_an_infinite_loss_stops_the_run(make_config: MakeConfig, tmp_path: Path, console: Console) -> None:
    config = make_config({"optimizer.lr": 1e30})
    with pytest.raises(UserError) as caught:
        run(config, tmp_path / "run", console)
    first, frames, hint = str(caught.value).splitlines()
    assert first.startswith("the loss is not finite at step 1 (epoch 1): energy ")
    assert frames.startswith("  data=sample, frames ")
    assert len(frames.split(",")) == 9
    assert hint == "  lower optimizer.lr, set trainer.gradient_clip_val, or check these frames"


def test_an_element_that_a_declared_model_lacks(
    make_config: MakeConfig, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config({"model.species": ["H", "C"]})
    monkeypatch.setattr(type(config.data), "known_species", None)
    with pytest.raises(SpecError) as caught:
        run(config, tmp_path / "run", console)
    assert str(caught.value) == (
        "model.species\n  the training frames have H, C, O, but the model's species lack O\n"
        "  add it, or write species: auto"
    )


def test_an_interrupted_run_says_where_it_was(
    make_config: MakeConfig, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, handler = Training.training_step, signal.getsignal(signal.SIGINT)

    def interrupted(self: Training, batch: Batch, index: int) -> Tensor:
        if self.global_step == 7:
            raise KeyboardInterrupt
        return step(self, batch, index)

    monkeypatch.setattr(Training, "training_step", interrupted)
    with pytest.raises(Interrupted) as caught:
        run(make_config(), tmp_path / "run", console)
    assert str(caught.value) == "stopped immediately by a second interrupt, in epoch 2"
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_terminal_sees_a_bar_and_is_left_clean(make_config: MakeConfig, tmp_path: Path) -> None:
    screen = io.StringIO()
    config = make_config({"trainer.progress_bar": True})
    run(config, tmp_path / "run", Console(file=screen, force_terminal=True, width=100, height=40, legacy_windows=False))
    text = screen.getvalue()
    assert "epoch 3" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is hidden, and comes back


def test_a_gpu_that_is_not_there(
    make_config: MakeConfig, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SpecError) as caught:
        run(make_config({"trainer.accelerator": "gpu"}), tmp_path / "run", console)
    assert str(caught.value) == "trainer.accelerator\n  there is no CUDA GPU here\n  write auto or cpu"


VARIANTS = {
    "plain weights": {"trainer.ema_decay": None},
    "float64": {"trainer.dtype": "float64"},
    "schedule-free": {
        "optimizer": {"kind": "schedule_free"},
        "scheduler": {"kind": "constant"},
        "trainer.ema_decay": None,
    },
    "muon": {"optimizer": {"kind": "muon"}, "scheduler": {"kind": "one_cycle"}},
    "soap": {"optimizer": {"kind": "soap", "every": 4}},
    "bf16": {"trainer.dtype": "bf16-mixed", "trainer.gradient_clip_val": 1.0},
    "steps": {"trainer.max_steps": 7},
    "minutes": {"trainer": {"max_epochs": None, "max_minutes": 0.02, "num_threads": 1}},
    "plateau": {"scheduler": {"kind": "plateau", "patience": 0}, "trainer.check_val_every_n_epoch": 2},
    "constant": {"scheduler": {"kind": "constant"}, "optimizer": {"kind": "adamw"}, "trainer.gradient_clip_val": 1.0},
    "early stopping": {"trainer.early_stopping_patience": 1, "optimizer.lr": 1e-12, "trainer.max_epochs": 9},
    "energies alone": {
        "task.targets.forces": REMOVED,
        "model.outputs.forces": REMOVED,
        "trainer.monitor": "val_energy_mae",
    },
    "huber": {"task.targets.forces.loss": "huber", "task.targets.energy.loss": "mae"},
    "watched": {"task.targets.energy.weight": 0},
    "weights": {
        "task.targets.forces.weight": {0: 1, 1: 10},
        "task.targets.forces.species_weights": {"H": 0.5},
    },
    "tensors": {
        "model.layers.each": {"kind": "tensor_product", "x1": "gate", "x2": "gate", "irreps_out": "0e + 2e"},
        "model.layers.pair": {"kind": "linear", "of": "gate", "irreps_out": "0e + 1o"},
        "model.outputs": {
            "polarizability": {"kind": "sum", "of": "each"},
            "dipole": {"kind": "dipole", "of": "pair"},
            "charges": {"kind": "fixed_sum", "of": "readout"},
        },
        "task.targets": {
            "polarizability": {"cartesian": "ij=ji", "per": "graph", "component_weights": [1.0, 2.0]},
            "dipole": {"irreps": "1o", "per": "graph", "loss": "huber"},
        },
    },
}


@pytest.mark.parametrize("name", VARIANTS)
def test_other_ways_to_train(name: str, make_config: MakeConfig, tmp_path: Path, console: Console) -> None:
    config = make_config({"data.num_train": 16, "trainer.max_epochs": 2} | VARIANTS[name])
    result = run(config, tmp_path / "run", console)
    rows = read_metrics(result.folder)
    assert rows[-1]["val_loss"] != ""
    assert load_model(result.model).dtype == getattr(torch, config.trainer.weights)
    if name == "steps":
        assert (result.steps, result.epochs) == (4, 2)  # two batches in an epoch
    if name == "early stopping":
        assert result.epochs == 2
    if name == "energies alone":
        assert not (result.folder / "parity_forces.png").exists()


def test_steps_end_a_run_within_an_epoch(make_config: MakeConfig, tmp_path: Path, console: Console) -> None:
    result = run(make_config({"trainer.max_steps": 7}), tmp_path / "run", console)
    assert result.steps == 7
    assert [row["step"] for row in read_metrics(result.folder)] == ["5", "7"]


def test_data_without_validation_and_test(
    finished: Finished, make_config: MakeConfig, tmp_path: Path, console: Console
) -> None:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    config = finished.config
    splits = load(config.data, config.model.r_max, config.task.labels)
    write(tmp_path / "train.xyz", [_atoms(graph, Atoms, SinglePointCalculator) for graph in splits.train[:16]])
    data = {"kind": "xyz", "path": str(tmp_path / "train.xyz"), "split": {"val": 0, "test": 0}}
    data["cache_dir"] = str(tmp_path / "cache")
    changes = {"data": data, "trainer.early_stopping_patience": 3, "scheduler": {"kind": "plateau"}}
    result = run(make_config(changes), tmp_path / "run", console)
    assert list(result.errors) == ["train"]
    assert {"train", "run"} == json.loads((result.folder / "metrics.json").read_text(encoding="utf-8")).keys()
    assert (result.folder / "parity_energy.png").exists()


def _atoms(graph: Graph, atoms_type: type, calculator_type: type):
    atoms = atoms_type(graph.z.numpy(), graph.pos.numpy())
    atoms.calc = calculator_type(atoms, energy=float(graph.energy), forces=graph.forces.numpy())
    return atoms

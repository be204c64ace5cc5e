"""Labels that some frames lack: trained around, counted aloud, and refused where nothing could be learned or told."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from rich.console import Console
from support.runs import MakeConfig, run

from e3frame.config.targets import TaskSpec
from e3frame.data.pipeline.dataset import GraphDataset, Splits
from e3frame.data.pipeline.graphs import make_graph
from e3frame.data.sources.base import DataSpec, Label
from e3frame.evaluate.labels import Held, require_labels
from e3frame.run import frames
from e3frame.spec.errors import UserError
from e3frame.spec.validate import validate

NAN = np.nan
SYMMETRIC = np.array([[1.0, 0.2, 0.1], [0.2, 2.0, 0.3], [0.1, 0.3, 3.0]])


def dataset(atoms: Atoms, **labels: list[Any]) -> GraphDataset:
    """One frame for each entry of the labels."""
    frames = range(len(next(iter(labels.values()))))
    graphs = [
        make_graph(atoms, 3.0, {name: np.array(values[k], dtype=float) for name, values in labels.items()}, k)
        for k in frames
    ]
    return GraphDataset.from_graphs(graphs, ["a.xyz"])


def task(**targets: dict[str, Any]) -> TaskSpec:
    return validate(TaskSpec, {"targets": targets})


ENERGY = {"irreps": "0e", "per": "graph"}
FORCES = {"derive": "negative_gradient", "of": "energy"}


def test_which_frames_have_a_label() -> None:
    none, some = np.full((3, 3), NAN), np.array([[NAN] * 3, [1.0] * 3, [NAN] * 3])
    data = dataset(molecule("H2O"), energy=[[1.0], [NAN], [3.0]], forces=[none, some, np.ones((3, 3))])
    assert Held.of(data, "energy", "graph").frames.tolist() == [True, False, True]
    assert Held.of(data, "forces", "node").frames.tolist() == [False, True, True]
    assert Held.of(data[[2, 1]], "forces", "node").frames.tolist() == [True, True]
    splits = Splits(data, None, data[:2])
    assert list(require_labels(splits, task(energy=ENERGY, forces=FORCES))) == [
        "energy in 2 of 3 train frames",
        "energy in 1 of 2 test frames",
        "forces in 2 of 3 train frames",
        "forces in 1 of 2 test frames",
    ]


def test_each_label_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(molecule("H2O"), energy=[[1.0], [NAN]], forces=[np.ones((3, 3))] * 2)
    splits, blocks, read = Splits(data, data, None), GraphDataset.blocks, []
    monkeypatch.setattr(GraphDataset, "blocks", lambda self, *keys: read.extend(keys) or blocks(self, *keys))
    require_labels(splits, task(energy=ENERGY, forces=FORCES), ("val_energy_mae",))
    assert sorted(read) == ["energy", "energy", "forces", "forces"]


def test_a_target_without_a_label() -> None:
    data = dataset(molecule("H2O"), energy=[[1.0], [2.0]], other=[[NAN], [NAN]])
    both = task(energy=ENERGY, other=ENERGY)
    with pytest.raises(UserError) as caught:
        require_labels(Splits(data, None, None), both)
    assert str(caught.value) == "a.xyz\n  no training frame has the label 'other' of the target other"
    require_labels(Splits(data, data, None), task(energy=ENERGY, other=ENERGY | {"weight": 0}))


def test_validation_must_tell_the_best_checkpoint() -> None:
    train = dataset(molecule("H2O"), energy=[[1.0], [2.0]], other=[[1.0], [2.0]])
    val = dataset(molecule("H2O"), energy=[[1.0], [2.0]], other=[[NAN], [NAN]])
    require_labels(Splits(train, val, None), task(energy=ENERGY, other=ENERGY), ("val_loss",))
    with pytest.raises(UserError) as caught:
        require_labels(Splits(train, val, None), task(energy=ENERGY, other=ENERGY), ("val_other_mae",))
    assert str(caught.value) == (
        "val_other_mae is monitored, but no validation frame has the label 'other'\n  set trainer.monitor=val_loss"
    )
    with pytest.raises(UserError) as caught:
        require_labels(Splits(train, val, None), task(other=ENERGY), ("val_loss",))
    assert str(caught.value) == (
        "no validation frame has a label to choose the best checkpoint\n  labels of the targets: other"
    )


def test_a_tensor_without_its_symmetry() -> None:
    wrong = SYMMETRIC.copy()
    wrong[0, 1] = 0.5
    alpha = {"cartesian": "ij=ji", "per": "graph"}
    data = dataset(molecule("H2O"), alpha=[[SYMMETRIC], [np.full((3, 3), NAN)], [wrong]])
    with pytest.raises(UserError) as caught:
        require_labels(Splits(data, None, None), task(alpha=alpha))
    assert str(caught.value) == (
        "a.xyz, frame 2\n  alpha does not have the symmetry of the target alpha (ij=ji): "
        "[[1.0, 0.5, 0.1], [0.2, 2.0, 0.3], [0.1, 0.3, 3.0]]\n"
        "  set the symmetry of the label, such as cartesian: ij for none, or correct the order of its components"
    )
    require_labels(Splits(data, None, None), task(alpha=alpha | {"cartesian": "ij"}))
    per_node = dataset(molecule("H2O"), shift=[[SYMMETRIC] * 3, [SYMMETRIC, wrong, SYMMETRIC]])
    with pytest.raises(UserError, match=r"a\.xyz, frame 1"):
        require_labels(Splits(per_node, None, None), task(shift=alpha | {"per": "node"}))


def test_a_stress_of_a_molecule() -> None:
    graphs = [
        make_graph(atoms, 3.0, {"stress": np.array([stress])}, k)
        for k, (atoms, stress) in enumerate(
            [
                (bulk("Cu"), SYMMETRIC),
                (Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]]), SYMMETRIC * NAN),
                (Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]]), SYMMETRIC),
            ]
        )
    ]
    stress = task(stress={"derive": "strain_gradient", "of": "energy"})
    require_labels(Splits(GraphDataset.from_graphs(graphs[:2], ["a.xyz"]), None, None), stress)
    with pytest.raises(UserError) as caught:
        require_labels(Splits(GraphDataset.from_graphs(graphs, ["a.xyz"]), None, None), stress)
    assert str(caught.value) == (
        "a.xyz, frame 2\n  the frame has a stress, but its cell has no volume\n"
        "  a stress is a derivative per volume: remove the label from molecules"
    )


def test_a_run_around_missing_labels(make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the dipoles and all polarizabilities of the test frames are missing: said aloud, and nothing is NaN."""
    load = frames.load

    def patchy(data: DataSpec, r_max: float, labels: Mapping[str, Label]) -> Splits:
        splits = load(data, r_max, labels)
        parts = {}
        for name, data in splits.items():
            graphs = [data[k].clone() for k in range(len(data))]
            for k, graph in enumerate(graphs):
                if k % 2:
                    graph.dipole = torch.full_like(graph.dipole, torch.nan)
                if name == "test":
                    graph.polarizability = torch.full_like(graph.polarizability, torch.nan)
            parts[name] = GraphDataset.from_graphs(graphs, data.files)
        return Splits(**parts)

    monkeypatch.setattr(frames, "load", patchy)
    config = make_config(
        {
            "data.num_train": 16,
            "trainer.max_epochs": 1,
            "model.layers.pair": {"kind": "linear", "of": "gate", "irreps_out": "0e + 1o"},
            "model.layers.each": {"kind": "tensor_product", "x1": "gate", "x2": "gate", "irreps_out": "0e + 2e"},
            "model.outputs": {
                "dipole": {"kind": "dipole", "of": "pair"},
                "polarizability": {"kind": "sum", "of": "each"},
            },
            "task.targets": {
                "dipole": {"irreps": "1o", "per": "graph"},
                "polarizability": {"cartesian": "ij=ji", "per": "graph"},
            },
        }
    )
    console = Console(record=True, width=100, file=io.StringIO())
    result = run(config, tmp_path / "run", console)
    text = console.export_text()
    assert "dipole in 8 of 16 train frames" in text
    assert "polarizability in 0 of 200 test frames" in text
    assert "no labels" in text
    metrics = json.loads((result.folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["train"]["dipole"]["frames"] == 8
    assert metrics["test"]["dipole"]["frames"] == 100
    assert "polarizability" not in metrics["test"]
    assert "frames" not in metrics["val"]["polarizability"]
    assert list(metrics["val"]["polarizability"]["by_irrep"]) == ["0e", "2e"]
    page = (result.folder / "report.html").read_text(encoding="utf-8")
    assert "1 epoch (2 steps)" in page
    assert "<h3>incomplete labels</h3>" in page
    assert "dipole in 8 of 16 train frames" in page
    assert "NaN" not in page
    assert ">nan<" not in page

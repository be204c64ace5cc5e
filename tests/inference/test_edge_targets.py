"""Targets per edge: from labels of pairs through training and evaluation to predictions that are read back."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from ase.neighborlist import neighbor_list
from support.runs import changed, run

from e3frame.config.run import RunConfig
from e3frame.data.pipeline.loader import load
from e3frame.evaluate.evaluation import evaluate
from e3frame.evaluate.labels import Held, require_labels
from e3frame.inference.calculator import E3FrameCalculator
from e3frame.inference.predictions import predict
from e3frame.spec.errors import SpecError, UserError
from e3frame.spec.validate import validate

LAYERS = {
    "species": {"kind": "species_embedding", "irreps_out": "8x0e"},
    "edge_sh": {"kind": "spherical_harmonics", "irreps_out": "0e + 1o + 2e"},
    "radial": {"kind": "radial_basis", "num_basis": 6},
    "conv": {"kind": "convolution", "irreps_out": "8x0e", "radial_mlp": [8]},
    "first": {"kind": "nodes_to_edges", "of": "conv", "end": "source"},
    "second": {"kind": "nodes_to_edges", "of": "conv", "end": "target"},
    "both": {"kind": "concatenate", "of": ["first", "second", "radial"]},
    "pair": {"kind": "concatenate", "of": ["radial", "edge_sh"]},
}
MODEL: dict[str, Any] = {
    "r_max": 3.2,
    "layers": LAYERS,
    "outputs": {
        "coupling": {"kind": "mlp", "of": "both", "hidden": [8], "irreps_out": "0e"},
        "exchange": {"kind": "linear", "of": "pair", "irreps_out": "0e + 2e"},
    },
}
TASK = {
    "coupling": {"irreps": "0e", "per": "edge", "unit": "Hz"},
    "exchange": {"cartesian": "ij=ji", "per": "edge", "component_weights": [1, 2]},
}
EDGES = {"coupling": {"index": "ij", "shift": "S", "reverse": "same"}, "exchange": {"index": "ij", "shift": "S"}}


def frames(count: int = 10, cutoff: float = 4.1) -> list[Atoms]:
    """Distorted crystals whose labels are functions of each vector, some of them beyond r_max."""
    made = []
    for k in range(count):
        atoms = bulk("NiAl", "cesiumchloride", a=2.8)
        atoms.rattle(0.1, seed=k)
        target, source, image, vectors = neighbor_list("ijSD", atoms, cutoff)
        squares = (vectors**2).sum(1)
        atoms.info = {
            "ij": np.stack([source, target], 1),
            "S": image,
            "J": np.exp(-squares / 4),
            "X": vectors[:, :, None] * vectors[:, None, :] / squares[:, None, None],
        }
        made.append(atoms)
    return made


def config(folder: Path, changes: dict[str, Any] | None = None) -> RunConfig:
    data = {"kind": "xyz", "path": str(folder / "a.xyz"), "keys": {"coupling": "J", "exchange": "X"}, "edges": EDGES}
    data |= {"split": {"val": 2, "test": 3}, "cache_dir": str(folder / "cache"), "batch_size": 2}
    new = {"model": MODEL, "data": data, "task.targets": TASK, "trainer.max_epochs": 100}
    return validate(RunConfig, changed(copy.deepcopy(new | (changes or {}))))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edges")
    write(folder / "a.xyz", frames())
    result = run(config(folder), folder / "run")
    errors = result.errors["test"].errors
    assert errors["coupling"].r2 > 0.5
    assert errors["exchange"].r2 > 0.5
    assert errors["coupling"].unit == "Hz"
    assert set(errors["coupling"].by_species) == {"Al-Al", "Al-Ni", "Ni-Ni"}
    assert set(errors["exchange"].by_irrep) == {"0e", "2e"}
    return folder


def test_evaluation_is_over_the_labelled_edges(trained: Path) -> None:
    """Of each frame, too, and the same whatever the size of the batches."""
    path = trained / "run" / "model.safetensors"
    one, many = (evaluate(path, config(trained).data.replace(eval_batch_size=size)) for size in (1, 64))
    found = one["test"]
    assert found.errors["coupling"].mae == pytest.approx(many["test"].errors["coupling"].mae, rel=1e-6)
    residual = found.residuals["coupling"]
    squares = (residual.prediction - residual.label).square().flatten()
    sizes = [len(neighbor_list("i", atoms, 3.2)) for atoms in frames()[7:]]
    assert [*map(len, squares.split(sizes))] == sizes
    per_frame = [float(part.mean().sqrt()) for part in squares.split(sizes)]
    np.testing.assert_allclose(found.frame_errors["coupling"], per_frame)
    np.testing.assert_allclose(many["test"].frame_errors["coupling"], per_frame, rtol=1e-5)


def test_predictions_are_read_back_as_labels(trained: Path, tmp_path: Path) -> None:
    path, out = trained / "run" / "model.safetensors", tmp_path / "out.xyz"
    predict(path, [trained / "a.xyz"], out)
    atoms = read(out, 0)
    assert atoms.info["exchange"].shape == (len(atoms.info["exchange_index"]), 3, 3)
    keys = {"coupling": "coupling", "exchange": "exchange"}
    edges = {name: {"index": f"{name}_index", "shift": f"{name}_shift"} for name in keys}
    changes = {"data.path": str(out), "data.keys": keys, "data.edges": edges}
    found = evaluate(path, config(trained, changes).data, split="train")["train"]
    assert found.errors["coupling"].mae < 1e-5
    assert found.errors["exchange"].mae < 1e-5
    assert not found.residuals["exchange"].label.isnan().any()
    fresh = frames(1)[0]
    fresh.calc = E3FrameCalculator(path)
    fresh.calc.calculate(fresh)
    results = fresh.calc.results
    assert results["edge_index"].tolist() == atoms.info["coupling_index"].tolist()
    assert results["edge_shift"].tolist() == atoms.info["coupling_shift"].tolist()
    np.testing.assert_allclose(results["coupling"][:, 0], atoms.info["coupling"], atol=1e-5)


def test_what_has_no_label_is_counted_aloud(tmp_path: Path) -> None:
    """Labels of one direction, of few pairs, beyond r_max; and none at all in one frame."""
    some = frames(5)
    for atoms in some:
        atoms.info |= {key: atoms.info[key][::3] for key in ("ij", "S", "J", "X")}
    del some[1].info["J"]
    write(tmp_path / "a.xyz", some)
    split = {"data.split": {"val": 1, "test": 0}, "data.allow_missing": ["coupling"]}
    it = config(tmp_path, split | {"data.edges": {name: {"index": "ij", "shift": "S"} for name in EDGES}})
    splits = load(it.data, it.model.r_max, it.needed_labels)
    there = [len(atoms.info["ij"]) for atoms in some]
    near = [(np.linalg.norm(v, axis=1) < 3.2)[::3].sum() for v in (neighbor_list("D", a, 4.1) for a in frames(5))]
    edges = [len(neighbor_list("i", atoms, 3.2)) for atoms in some]
    given, of, beyond = sum(near[:4]), sum(edges[:4]), sum(there[:4]) - sum(near[:4])
    assert beyond > 0
    assert Held.of(splits.train, "coupling", "edge").frames.tolist() == [True, False, True, True]
    assert list(require_labels(splits, it.task)) == [
        "coupling in 3 of 4 train frames",
        f"coupling on {given - near[1]} of {of} train edges",
        f"coupling of {beyond - (there[1] - near[1])} train pairs beyond r_max, left out",
        f"coupling on {near[4]} of {edges[4]} val edges",
        f"coupling of {there[4] - near[4]} val pairs beyond r_max, left out",
        f"exchange on {given} of {of} train edges",
        f"exchange of {beyond} train pairs beyond r_max, left out",
        f"exchange on {near[4]} of {edges[4]} val edges",
        f"exchange of {there[4] - near[4]} val pairs beyond r_max, left out",
    ]


def test_all_labels_beyond_r_max(tmp_path: Path) -> None:
    far = frames(5)
    for atoms in far:
        beyond = np.exp(-(3.2**2) / 4) > atoms.info["J"]
        atoms.info |= {key: atoms.info[key][beyond] for key in ("ij", "S", "J", "X")}
    write(tmp_path / "a.xyz", far)
    it = config(tmp_path, {"data.split": {"val": 1, "test": 0}})
    with pytest.raises(UserError) as caught:
        run(it, tmp_path / "run")
    count = sum(len(atoms.info["ij"]) for atoms in far[:4])
    assert str(caught.value) == (
        f"{tmp_path / 'a.xyz'}\n  no training frame has the label 'coupling' of the target coupling\n"
        f"  all {count} pairs of atoms with this label are beyond r_max"
    )


def test_a_matrix_without_its_symmetry_names_its_frame(tmp_path: Path) -> None:
    wrong = frames(5)
    wrong[2].info["X"][5, 0, 1] += 1.0
    write(tmp_path / "a.xyz", wrong)
    it = config(tmp_path, {"data.split": {"val": 1, "test": 0}})
    splits = load(it.data, it.model.r_max, it.needed_labels)
    with pytest.raises(
        UserError, match=r"a\.xyz, frame 2\n  exchange does not have the symmetry of the target exchange"
    ):
        require_labels(splits, it.task)


UNFIT: list[tuple[dict[str, Any], str]] = [
    (
        {"data.edges": {"exchange": EDGES["exchange"]}},
        "task.targets.coupling\n"
        "  the label 'coupling' is needed per edge, but the data do not define its pairs of atoms\n"
        "  set data.edges.coupling={index: KEY} to the key of the pairs",
    ),
    (
        {"model.outputs.coupling": {"kind": "linear", "of": "conv", "irreps_out": "0e"},
         "task.targets.coupling": {"irreps": "0e", "per": "node"}},
        "task.targets.coupling\n  the label 'coupling' is per edge in the data, but per node in the model",
    ),
    (
        {"model.outputs.coupling": {"kind": "linear", "of": "conv", "irreps_out": "0e"}},
        "task.targets.coupling.per\n  the model's output 'coupling' is per node, but the target is per edge",
    ),
    (
        {"data.edges": {**EDGES, "coupling": {"index": "ij", "reverse": "transposed"}}},
        "task.targets.coupling\n  transposed needs a matrix, but the label 'coupling' is () per edge\n"
        "  set data.edges.coupling.reverse to same or negative",
    ),
    (
        {"task.targets.spin": TASK["coupling"], "data.keys": {"spin": "J", "coupling": "J", "exchange": "X"}},
        "task.targets.spin\n  the model has no output 'spin'; outputs: coupling, exchange\n"
        "  make the output read a field per edge (edge_vectors, edge_sh, radial, first, second, both, pair, "
            "coupling), "
        "or add a nodes_to_edges layer",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), UNFIT, ids=[str(number) for number in range(len(UNFIT))])
def test_what_does_not_fit(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        config(tmp_path, changes).typed()
    assert str(caught.value) == message

"""What a frame brings besides its structure, such as its total charge: from the data to predictions."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import read, write
from support.runs import changed, run

import e3frame
from e3frame.cli import main
from e3frame.config.run import RunConfig
from e3frame.data.pipeline.graphs import model_input
from e3frame.data.pipeline.loader import load
from e3frame.data.pipeline.module import make_loader
from e3frame.data.sources.base import parse_data
from e3frame.evaluate.evaluation import evaluate
from e3frame.inference.calculator import E3FrameCalculator
from e3frame.inference.predictions import predict
from e3frame.inference.predictor import Predictor
from e3frame.model import ModelSpec
from e3frame.spec.errors import SpecError, UserError
from e3frame.spec.validate import SpecErrors, validate

DIPOLE = {"kind": "dipole", "of": "readout", "total_charge": "total_charge"}
MODEL: dict[str, Any] = {
    "r_max": 4.0,
    "inputs": {"total_charge": "0e", "field": "1o"},
    "layers": {
        "species": {"kind": "species_embedding", "irreps_out": "8x0e"},
        "charge": {"kind": "graph_to_nodes", "of": "total_charge"},
        "start": {"kind": "concatenate", "of": ["species", "charge"]},
        "edge_sh": {"kind": "spherical_harmonics", "irreps_out": "0e + 1o"},
        "radial": {"kind": "radial_basis", "num_basis": 6},
        "conv": {"kind": "convolution", "of": "start", "irreps_out": "8x0e + 4x1o", "radial_mlp": [8]},
        "readout": {"kind": "linear", "irreps_out": "0e + 1o"},
        "scalar": {"kind": "linear", "of": "conv", "irreps_out": "0e"},
    },
    "outputs": {
        "dipole": {"kind": "residual", "of": "field", "layers": {"own": DIPOLE}},
        "charges": {"kind": "fixed_sum", "of": "scalar", "total": "total_charge"},
    },
}
TASK = {
    "dipole": {"irreps": "1o", "per": "graph"},
    "charges": {"irreps": "0e", "per": "node", "sum": "total_charge"},
}


def frames(count: int = 12) -> list[Atoms]:
    """Water with a proton more or less; the dipole is that of a charge on the oxygen, and of the field."""
    rng = np.random.default_rng(0)
    made = []
    for k in range(count):
        charge, atoms = k % 3 - 1, molecule("H2O")
        atoms = {-1: atoms[:2], 0: atoms, 1: atoms + Atoms("H", [[0.3, 0.1, 1.1]])}[charge]
        atoms.positions += 0.05 * rng.normal(size=atoms.positions.shape)
        field = rng.normal(size=3)
        atoms.info = {
            "Q": charge,
            "E": field,
            "mu": charge * (atoms.positions[0] - atoms.get_center_of_mass()) + field,
        }
        made.append(atoms)
    return made


KEYS = {"dipole": "mu", "total_charge": "Q", "field": "E"}


def config(folder: Path, source: dict[str, Any], changes: dict[str, Any] | None = None) -> RunConfig:
    more = {"split": {"val": 3, "test": 3}, "cache_dir": str(folder / "cache"), "preflight": "off", "batch_size": 4}
    new = {"model": copy.deepcopy(MODEL), "data": {**source, "keys": KEYS, **more}, "task.targets": TASK}
    return validate(RunConfig, changed(new | (changes or {})))


def as_xyz(folder: Path) -> dict[str, Any]:
    write(folder / "ions.xyz", frames())
    return {"kind": "xyz", "path": str(folder / "ions.xyz")}


def as_db(folder: Path) -> dict[str, Any]:
    with connect(folder / "ions.db") as database:
        for atoms in frames():
            arrays = {key: atoms.info[key] for key in ("E", "mu")}
            database.write(Atoms(atoms.symbols, atoms.positions), key_value_pairs={"Q": atoms.info["Q"]}, data=arrays)
    return {"kind": "ase_db", "path": str(folder / "ions.db")}


def as_npz(folder: Path) -> dict[str, Any]:
    numbers, positions = np.zeros((12, 4), int), np.zeros((12, 4, 3))
    for k, atoms in enumerate(frames()):
        numbers[k, : len(atoms)], positions[k, : len(atoms)] = atoms.numbers, atoms.positions
    arrays = {key: np.array([atoms.info[key] for atoms in frames()]) for key in KEYS.values()}
    np.savez(folder / "ions.npz", z=numbers, R=positions, **arrays)
    return {"kind": "npz", "path": str(folder / "ions.npz")}


@pytest.mark.parametrize("source", [as_xyz, as_db, as_npz])
def test_every_source_brings_the_charge_of_each_frame(source: Any, tmp_path: Path) -> None:
    it = config(tmp_path, source(tmp_path))
    splits = load(it.data, it.model.r_max, it.needed_labels)
    (batch,) = make_loader(splits.train, 6)
    given = model_input(batch, inputs=it.model.inputs)
    np.testing.assert_allclose(given["total_charge"], [-1, 0, 1, -1, 0, 1])
    np.testing.assert_allclose(given["field"].reshape(6, 3), [atoms.info["E"] for atoms in frames()[:6]], atol=1e-7)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    result = run(config(folder, as_xyz(folder), {"trainer.max_epochs": 2}), folder / "run")
    assert set(result.errors["test"].errors) == {"dipole", "charges"}
    assert result.errors["test"].errors["charges"].mae < 1e-3  # in me; the sum is right by construction
    return folder


def test_the_report_tells_of_the_inputs(trained: Path) -> None:
    page = (trained / "run" / "report.html").read_text(encoding="utf-8")
    for name, irreps, dim in (("total_charge", "1x0e", 1), ("field", "1x1o", 3)):
        cells = "".join(f"<td>{text}</td>" for text in (name, "input", "graph", irreps))
        assert f'<tr>{cells}<td class="number">{dim}</td>' in page
    assert "<tr><td>total_charge</td><td>label, input</td><td>e</td>" in page
    assert "<tr><td>field</td><td>input</td><td></td>" in page


def test_predictions_follow_the_charge_of_the_frame(trained: Path) -> None:
    path = trained / "run" / "model.safetensors"
    model = Predictor(path, dtype="float64", keys={"total_charge": "Q", "field": "E"})
    together = model.run([model.graph(atoms) for atoms in frames()])
    for atoms, values in zip(frames(), together, strict=True):
        (alone,) = model.run([model.graph(atoms)])
        np.testing.assert_allclose(values["dipole"], alone["dipole"], atol=1e-10)
        assert values["charges"].sum() == pytest.approx(atoms.info["Q"], abs=1e-10)
    neutral = frames()[1]
    moved = neutral.copy()
    moved.info["E"] = neutral.info["E"] + [0, 0, 1]
    first, second = (model.run([model.graph(atoms)])[0]["dipole"] for atoms in (neutral, moved))
    np.testing.assert_allclose(second - first, [0, 0, 1], atol=1e-10)
    assert list(e3frame.load_model(path).spec.inputs) == ["total_charge", "field"]


def test_predict_and_evaluate_read_the_charge(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path, out = trained / "run" / "model.safetensors", tmp_path / "out.xyz"
    arguments = [f"model={path}", f"path={trained / 'ions.xyz'}", f"out={out}"]
    assert main(["predict", *arguments, "keys.total_charge=Q", "keys.field=E"]) == 0
    for before, after in zip(frames(), read(out, ":"), strict=True):
        assert after.info["Q"] == before.info["Q"]
        assert after.get_charges().sum() == pytest.approx(before.info["Q"], abs=1e-5)
    data = config(tmp_path, as_xyz(tmp_path)).data
    found = evaluate(path, data, split="all")
    assert found["test"].errors["charges"].mae < 1e-3
    capsys.readouterr()
    assert main(["predict", *arguments, "overwrite=true", "keys.total_charge=Q"]) == 1
    assert capsys.readouterr().err == (
        f"{trained / 'ions.xyz'}, frame 0\n"
        "  the model needs the input field (1x1o per graph), but the frame has no key 'field'\n"
        "  existing keys: Q, E, mu; name it with keys.field=KEY\n"
    )
    with pytest.raises(UserError) as caught:
        predict(path, [trained / "ions.xyz"], tmp_path / "more.xyz", keys={"charge": "Q"})
    assert str(caught.value) == "the model has no input 'charge'\n  did you mean total_charge?"
    with pytest.raises(UserError) as caught:
        evaluate(path, parse_data(data.model_dump() | {"keys": {"dipole": "mu", "field": "E"}}))
    assert str(caught.value) == (
        f"{path}: the model reads the input 'total_charge', but the data have no label 'total_charge'\n"
        "  existing labels: dipole, field\n"
        "  if the files have it: data.keys.total_charge=KEY"
    )


def test_the_calculator_reads_the_charge_from_info(trained: Path) -> None:
    atoms = frames()[1]
    atoms.calc = E3FrameCalculator(trained / "run" / "model.safetensors", keys={"field": "E"}, dtype="float64")
    for name, charge in [("charge", 1.0), ("charge", -2), ("total_charge", 1.0)]:
        atoms.info[name] = charge
        assert atoms.get_charges().sum() == pytest.approx(charge, abs=1e-10)
    before = atoms.get_dipole_moment()
    assert atoms.calc.check_state(atoms) == []
    atoms.info["E"] = atoms.info["E"] + [1.0, 0, 0]
    assert atoms.calc.check_state(atoms) == ["info"]
    np.testing.assert_allclose(atoms.get_dipole_moment() - before, [1, 0, 0], atol=1e-10)
    for key, value, message in [
        ("total_charge", "one", "  total_charge is not a number: 'one'"),
        ("total_charge", np.inf, "  total_charge is not finite: inf"),
        ("total_charge", [1, 2], "  total_charge has shape (2,), but the label total_charge needs ()\n"
         "  total_charge is one value of shape () per graph"),
    ]:  # fmt: skip
        atoms.info[key] = value
        with pytest.raises(UserError) as caught:
            atoms.get_charges()
        assert str(caught.value) == message
    del atoms.info["charge"], atoms.info["total_charge"]
    with pytest.raises(UserError) as caught:
        atoms.get_charges()
    assert str(caught.value) == (
        "  the model needs the input total_charge (1x0e per graph), but the frame has no key 'total_charge'\n"
        "  set atoms.info['total_charge']"
    )


def test_a_result_is_not_taken_for_an_input(trained: Path) -> None:
    atoms = frames()[1]
    atoms.calc = SinglePointCalculator(atoms, energy=0.0)
    atoms.calc.results["field"] = np.ones(3)
    model = Predictor(trained / "run" / "model.safetensors", keys={"total_charge": "Q"})
    with pytest.raises(UserError, match="the frame has no key 'field'"):
        model.graph(atoms)


UNFIT: list[tuple[dict[str, Any], str]] = [
    (
        {"data": {"kind": "sample"}},
        "model.inputs.total_charge\n"
        "  the model reads the input 'total_charge', but the data have no label 'total_charge'\n"
        "  existing labels: energy, forces, dipole, polarizability\n"
        "  read other labels from your own files: data=xyz data.keys.total_charge=KEY\n"
        "  or remove this input from the model",
    ),
    (
        {"data": {"kind": "md17", "molecule": "ethanol"}},
        "model.inputs.total_charge\n"
        "  the model reads the input 'total_charge', but the data have no label 'total_charge'\n"
        "  existing labels: energy, forces\n"
        "  read other labels from your own files: data=xyz data.keys.total_charge=KEY\n"
        "  or remove this input from the model",
    ),
    (
        {"data": {"kind": "xyz", "path": "a.xyz", "keys": {"charges": "q", "totl_charge": "Q"}}},
        "model.inputs.total_charge\n"
        "  the model reads the input 'total_charge', but the data have no label 'total_charge'\n"
        "  did you mean totl_charge?\n  or remove this input from the model",
    ),
    (
        {"data": {"kind": "xyz", "path": "a.xyz", "keys": {"charges": "q", "dipole": "mu"}}},
        "model.inputs.total_charge\n"
        "  the model reads the input 'total_charge', but the data have no label 'total_charge'\n"
        "  existing labels: charges, dipole\n"
        "  if the files have it: data.keys.total_charge=KEY\n  or remove this input from the model",
    ),
    (
        {"model.inputs.total_charge": "1o", "model.outputs.dipole": DIPOLE | {"total_charge": 0.0},
         "model.layers.charge": {"kind": "graph_to_nodes", "of": "total_charge"},
         "model.outputs.charges.total": 0.0, "task.targets": {"dipole": TASK["dipole"]}},
        "model.inputs.total_charge\n"
        "  the label 'total_charge' is one number per graph, but the model reads (3,) per graph",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"), UNFIT, ids=["sample", "md17", "a typing error", "charges of atoms", "another form"]
)
def test_what_the_data_do_not_have(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        config(tmp_path, as_xyz(tmp_path), changes).typed()
    assert str(caught.value) == message


def test_an_input_may_not_be_missing(tmp_path: Path) -> None:
    made = frames()
    del made[5].info["Q"]
    write(tmp_path / "some.xyz", made)
    it = config(tmp_path, {"kind": "xyz", "path": str(tmp_path / "some.xyz"), "allow_missing": ["total_charge"]})
    with pytest.raises(UserError) as caught:
        run(it, tmp_path / "run")
    assert str(caught.value) == (
        f"{tmp_path / 'some.xyz'}, frame 5\n  the frame has no total_charge, which is an input of the model\n"
        "  labels may be missing, inputs may not"
    )
    with pytest.raises(UserError) as caught:
        run(config(tmp_path, {"kind": "xyz", "path": str(tmp_path / "some.xyz")}), tmp_path / "run")
    assert str(caught.value) == (
        f"{tmp_path / 'some.xyz'}, frame 5\n  no key 'Q' for the label total_charge\n  existing keys: E, mu"
    )


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"pos": "1o"}, "inputs.pos\n  'pos' is a reserved name; rename this input"),
        ({"q": "0x0e"}, "inputs.q\n  0x0e has no irreps\n  write at least one, such as 16x0e"),
        ({"q-2": "0e"}, "inputs.q-2\n  a name has letters, digits and _, and does not start with a digit; got q-2"),
    ],
)
def test_names_of_inputs(inputs: dict[str, str], message: str) -> None:
    with pytest.raises(SpecErrors) as caught:
        validate(ModelSpec, MODEL | {"inputs": inputs})
    assert str(caught.value.errors[0]) == message


def test_a_graph_without_the_input(trained: Path) -> None:
    model = e3frame.load_model(trained / "run" / "model.safetensors")
    atoms = frames()[0]
    graph = model_input(
        Predictor(trained / "run" / "model.safetensors", keys={"total_charge": "Q", "field": "E"}).graph(atoms)
    )
    with pytest.raises(UserError) as caught:
        model(graph)
    assert str(caught.value) == "the model needs the input total_charge, 1x0e for each of 1 graphs: it is missing"
    with pytest.raises(UserError) as caught:
        model(graph | {"total_charge": model.species_index(graph["z"])})
    assert str(caught.value) == "the model needs the input total_charge, 1x0e for each of 1 graphs: its shape is (2,)"


def test_check_shows_what_the_model_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(yaml.safe_dump(MODEL, sort_keys=False), encoding="utf-8")
    assert main(["check", str(file)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["total_charge", "input", "graph", "1x0e", "1", "-"] in lines
    assert ["field", "input", "graph", "1x1o", "3", "-"] in lines

"""Tensors in the forms in which people and ASE keep them: files, calculators, evaluations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.io import read, write
from ase.stress import voigt_6_to_full_3x3_stress

from e3frame.compose import config_folder, read_yaml
from e3frame.config.targets import TaskSpec
from e3frame.data.sources.base import parse_data
from e3frame.evaluate.evaluation import error_table, evaluate
from e3frame.inference.calculator import E3FrameCalculator
from e3frame.inference.predictions import predict
from e3frame.inference.predictor import Predictor
from e3frame.inference.saved import save_model
from e3frame.model import ModelSpec
from e3frame.network import Model
from e3frame.spec.layer import LayerSpec
from e3frame.spec.statistics import Statistics
from e3frame.spec.validate import validate

SPECIES = ("H", "C", "O", "Al", "Ni")
STATISTICS = Statistics(
    species=SPECIES, energy_shift=dict.fromkeys(SPECIES, -3.0), energy_scale=1.3, avg_num_neighbors=12.0
)


def saved(path: Path, preset: str, outputs: dict[str, dict], task: dict[str, dict] | None = None) -> Path:
    """An untrained model of a preset with more outputs."""
    spec = read_yaml(config_folder() / "model" / f"{preset}.yaml").parse(ModelSpec)
    more = {name: LayerSpec.parse(raw) for name, raw in outputs.items()}
    torch.manual_seed(0)
    model = Model(spec.replace(outputs={**spec.outputs, **more}).resolve(STATISTICS))
    return save_model(model, path, validate(TaskSpec, {"targets": task}) if task else None)


@pytest.fixture(scope="module")
def potential(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "potential.safetensors"
    return saved(path, "nequip_small", {"stress": {"kind": "strain_gradient", "of": "energy"}})


@pytest.fixture(scope="module")
def tensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tensors.safetensors"
    outputs = {
        "charges": {"kind": "linear", "of": "first_gate", "irreps_out": "0e"},
        "shielding": {"kind": "linear", "of": "first_gate", "irreps_out": "0e + 2e"},
        "lengths": {"kind": "linear", "of": "radial", "irreps_out": "0e"},
    }
    task = {
        "polarizability": {"cartesian": "ij=ji", "per": "graph"},
        "shielding": {"cartesian": "ij=ji", "per": "node"},
        "charges": {"irreps": "0e", "per": "node"},
    }
    return saved(path, "polarizability", outputs, task)


@pytest.fixture
def crystal() -> Atoms:
    atoms = bulk("NiAl", "cesiumchloride", a=2.9)
    shear = np.array([[0.0, 0.3, 0.1], [0.0, 0.1, 0.0], [-0.1, 0.0, 0.2]])
    atoms.set_cell(atoms.cell.array + shear, scale_atoms=True)
    atoms.rattle(0.1, seed=1)
    return atoms


def test_the_calculators_stress_is_ases_derivative(potential: Path, crystal: Atoms) -> None:
    """Sign and order of the six components are those of ASE."""
    crystal.calc = E3FrameCalculator(potential, dtype="float64")
    stress = crystal.get_stress()
    assert stress.shape == (6,)
    assert len(set(np.round(np.abs(stress), 6))) == 6  # so that an exchange of two would show
    np.testing.assert_allclose(calculate_numerical_stress(crystal, eps=1e-5), stress, atol=1e-7)
    np.testing.assert_allclose(calculate_numerical_forces(crystal, eps=1e-4), crystal.get_forces(), atol=1e-6)


def test_a_molecule_has_no_stress(potential: Path) -> None:
    atoms = molecule("H2O")
    atoms.calc = E3FrameCalculator(potential)
    assert np.isfinite(atoms.get_potential_energy())
    assert "stress" not in atoms.calc.results
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_stresses_in_a_file(potential: Path, crystal: Atoms, tmp_path: Path) -> None:
    write(tmp_path / "in.xyz", [crystal, molecule("H2O")])
    predict(potential, [tmp_path / "in.xyz"], tmp_path / "out.xyz")
    first, second = read(tmp_path / "out.xyz", ":")
    crystal.calc = E3FrameCalculator(potential)
    np.testing.assert_allclose(first.get_stress(), crystal.get_stress(), atol=1e-6)
    assert "stress" not in second.calc.results
    full = Predictor(potential).run([Predictor(potential).graph(crystal)])[0]["stress"]
    np.testing.assert_allclose(full, voigt_6_to_full_3x3_stress(crystal.get_stress()), atol=1e-6)


def test_tensors_are_matrices_to_the_user(tensors: Path) -> None:
    atoms = molecule("CH3CH2OH")
    turned = atoms.copy()
    turned.rotate(50, (1, 2, 3))
    turned.rotate(20, "x")
    rotation = np.linalg.lstsq(atoms.positions, turned.positions, rcond=None)[0].T
    predictor = Predictor(tensors, dtype="float64")
    before, after = predictor.run([predictor.graph(atoms), predictor.graph(turned)])
    assert before["polarizability"].shape == (3, 3)
    assert before["shielding"].shape == (9, 3, 3)
    assert before["charges"].shape == (9, 1)
    assert before["lengths"].shape == (predictor.graph(atoms).edge_index.shape[1], 1)
    for name in ("polarizability", "shielding"):
        np.testing.assert_allclose(before[name], np.swapaxes(before[name], -1, -2), atol=1e-12)
        np.testing.assert_allclose(after[name], rotation @ before[name] @ rotation.T, atol=1e-7)


def test_tensors_in_a_file_and_on_a_calculator(tensors: Path, tmp_path: Path) -> None:
    atoms = molecule("CH3CH2OH")
    write(tmp_path / "in.xyz", [atoms, molecule("H2O")])
    predict(tensors, [tmp_path / "in.xyz"], tmp_path / "out.xyz")
    found = read(tmp_path / "out.xyz", 0)
    atoms.calc = E3FrameCalculator(tensors)
    atoms.get_charges()
    results = atoms.calc.results
    np.testing.assert_allclose(found.info["polarizability"], results["polarizability"], atol=1e-6)
    np.testing.assert_allclose(found.arrays["shielding"].reshape(-1, 3, 3), results["shielding"], atol=1e-6)
    np.testing.assert_allclose(found.get_charges(), results["charges"], atol=1e-6)
    assert results["charges"].shape == (9,)


def test_evaluation_of_a_tensor_is_over_cartesian_components(tensors: Path, tmp_path: Path) -> None:
    """A model whose predictions are the labels of a file has no error, one off by a constant has just that one."""
    frames = [molecule("CH3CH2OH"), molecule("H2O"), molecule("CH4")]
    predictor = Predictor(tensors)
    values = predictor.run([predictor.graph(atoms) for atoms in frames])
    offset = np.array([[0.3, 0.1, 0.0], [0.1, 0.0, 0.0], [0.0, 0.0, 0.0]])
    for atoms, value in zip(frames, values, strict=True):
        atoms.info["alpha"] = value["polarizability"] + offset
    write(tmp_path / "labelled.xyz", frames)
    raw = {"kind": "xyz", "path": str(tmp_path / "labelled.xyz"), "cache_dir": str(tmp_path)}
    data = parse_data(raw | {"keys": {"polarizability": "alpha"}, "split": {"val": 0, "test": 0}})
    found = evaluate(tensors, data, split="train")
    errors = found["train"].errors["polarizability"]
    assert errors.mae == pytest.approx((0.3 + 2 * 0.1) / 9, abs=1e-6)
    assert errors.rmse == pytest.approx(np.sqrt((0.09 + 0.02) / 9), abs=1e-6)
    assert errors.by_irrep["0e"]["mae"] == pytest.approx(0.3 / np.sqrt(3), abs=1e-6)
    assert error_table(found, "errors").row_count == 1


def test_a_model_without_a_task_knows_that_a_stress_is_a_matrix(
    potential: Path, crystal: Atoms, tmp_path: Path
) -> None:
    predict(potential, [_written(crystal, tmp_path / "in.xyz")], tmp_path / "labelled.xyz")
    frame = read(tmp_path / "labelled.xyz")
    frame.info["virial"] = voigt_6_to_full_3x3_stress(frame.get_stress())
    frame.calc = None
    write(tmp_path / "labelled.xyz", frame)
    raw = {"kind": "xyz", "path": str(tmp_path / "labelled.xyz"), "cache_dir": str(tmp_path)}
    data = parse_data(raw | {"keys": {"stress": "virial"}, "split": {"val": 0, "test": 0}})
    errors = evaluate(potential, data, split="train")["train"].errors["stress"]
    assert errors.unit == "meV/Å³"
    assert errors.rmse < 1e-3


def _written(atoms: Atoms, path: Path) -> Path:
    write(path, atoms)
    return path

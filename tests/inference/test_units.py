"""Whatever unit a model was trained in, what ASE is handed is in eV, Å and e."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.io import read, write
from support.runs import RAW, MakeConfig, run

from e3frame.config.targets import TaskSpec
from e3frame.data.sources.xyz import XyzSpec
from e3frame.evaluate.evaluation import evaluate
from e3frame.inference.calculator import E3FrameCalculator
from e3frame.inference.predictions import predict
from e3frame.inference.saved import save_model
from e3frame.model import ModelSpec
from e3frame.network import Model
from e3frame.spec.errors import DataError, SpecError
from e3frame.spec.units import ENERGY as FACTORS
from e3frame.spec.validate import validate

LAYERS: dict[str, Any] = RAW["model"]["layers"] | {
    "conv": RAW["model"]["layers"]["conv"] | {"avg_num_neighbors": 6.0},
    "last": RAW["model"]["layers"]["last"] | {"avg_num_neighbors": 6.0},
    "parts": {"kind": "linear", "of": "gate", "irreps_out": "0e + 1o"},
    "tensors": {
        "kind": "convolution",
        "of": "gate",
        "irreps_out": "0e + 2e",
        "radial_mlp": [4],
        "avg_num_neighbors": 6,
    },
}
ENERGY = {"kind": "sum", "of": "readout", "per_species_scale_shift": {"scale": 2.0, "shift": -5.0}}
DIRECT = {
    "charges": {"kind": "linear", "of": "gate", "irreps_out": "0e"},
    "forces": {"kind": "linear", "of": "gate", "irreps_out": "1o"},
    "dipole": {"kind": "dipole", "of": "parts"},
    "polarizability": {"kind": "sum", "of": "tensors"},
    "mine": {"kind": "sum", "of": "readout"},
}
AU = {
    "forces": {"irreps": "1o", "per": "node", "key": "F", "unit": "Ha/Bohr"},
    "dipole": {"irreps": "1o", "per": "graph", "key": "mu", "unit": "D"},
    "polarizability": {"cartesian": "ij=ji", "per": "graph", "key": "alpha", "unit": "bohr³"},
    "charges": {"irreps": "0e", "per": "node", "key": "q", "unit": "e"},
    "mine": {"irreps": "0e", "per": "graph", "unit": "Hartree"},
}


def saved(path: Path, outputs: dict[str, Any], targets: dict[str, Any] | None) -> Path:
    torch.manual_seed(0)
    layers = LAYERS if "dipole" in outputs else {k: v for k, v in LAYERS.items() if k not in ("parts", "tensors")}
    raw = {"r_max": 4.0, "species": ["C", "O"], "layers": layers, "outputs": outputs}
    task = validate(TaskSpec, {"targets": targets}) if targets else None
    return save_model(Model(validate(ModelSpec, raw)), path, task)


def crystal() -> Atoms:
    atoms = bulk("C", "diamond", a=3.6)
    atoms.symbols[1] = "O"
    atoms.rattle(0.1, seed=1)
    return atoms


def results(model: Path) -> dict[str, Any]:
    atoms = crystal()
    atoms.calc = E3FrameCalculator(model)
    atoms.calc.calculate(atoms)
    return atoms.calc.results


DERIVED = {
    "forces": {"kind": "negative_gradient", "of": "energy"},
    "stress": {"kind": "strain_gradient", "of": "energy"},
}
ENERGY_TARGET = {"irreps": "0e", "per": "graph", "key": "E"}
FORCES_TARGET = {"derive": "negative_gradient", "of": "energy", "key": "F"}
STRESS_TARGET = {"derive": "strain_gradient", "of": "energy", "key": "s"}
FAMILIES = {
    "energy": ({}, {"energy": ENERGY_TARGET | {"unit": "Hartree"}}, "Hartree"),
    "all": (
        DERIVED,
        {
            "energy": ENERGY_TARGET | {"unit": "kcal/mol"},
            "forces": FORCES_TARGET | {"unit": "kcal/mol/Å"},
            "stress": STRESS_TARGET | {"unit": "kcal/mol/Å^3"},
        },
        "kcal/mol",
    ),
    "forces": (DERIVED, {"forces": FORCES_TARGET | {"unit": "kJ/mol/Ang"}}, "kJ/mol"),
    "stress": (DERIVED, {"stress": STRESS_TARGET | {"unit": "Ry/A^3"}}, "Ry"),
    "meV": (DERIVED, {"energy": ENERGY_TARGET | {"unit": "meV"}, "forces": FORCES_TARGET | {"unit": "meV/Å"}}, "meV"),
    "a label's name": (DERIVED, {"energy": {"irreps": "0e", "per": "graph", "key": "energy"}}, "eV"),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_an_energy_and_what_follows_from_it_are_handed_over_in_ev(name: str, tmp_path: Path) -> None:
    outputs, targets, unit = FAMILIES[name]
    plain = results(saved(tmp_path / "plain.safetensors", {"energy": ENERGY}, None))
    model = saved(tmp_path / "model.safetensors", {"energy": ENERGY, **outputs}, targets)
    found = results(model)
    assert set(found) == {"energy", "free_energy", "energies", "forces", "stress"} == set(plain)
    for key, value in found.items():
        np.testing.assert_allclose(value, np.multiply(plain[key], FACTORS[unit]), rtol=1e-12, atol=1e-15)
    write(tmp_path / "frames.xyz", crystal())
    predict(model, [tmp_path / "frames.xyz"], tmp_path / "out.xyz")
    frame = read(tmp_path / "out.xyz")
    assert frame.get_potential_energy() == pytest.approx(found["energy"], rel=1e-7)
    np.testing.assert_allclose(frame.get_forces(), found["forces"], atol=1e-7)
    np.testing.assert_allclose(frame.get_stress(), found["stress"], atol=1e-7)


def test_what_is_predicted_as_it_is(tmp_path: Path) -> None:
    """A quantity of another name stays in its own unit."""
    known = {"polarizability": {"cartesian": "ij=ji", "per": "graph"}}
    plain = results(saved(tmp_path / "plain.safetensors", DIRECT, known))
    found = results(saved(tmp_path / "model.safetensors", DIRECT, AU))
    expected = {
        "forces": units.Hartree / units.Bohr,
        "dipole": units.Debye,
        "polarizability": units.Bohr**3,
        "charges": 1.0,
        "mine": 1.0,
    }
    assert set(found) == set(plain) == set(expected)
    for key, factor in expected.items():
        np.testing.assert_allclose(found[key], np.multiply(plain[key], factor), rtol=1e-6, err_msg=key)


def test_errors_are_in_the_unit_that_is_named(tmp_path: Path) -> None:
    """Labels in the model's unit are compared with what it gives; forces in eV/Å with nothing of another unit."""
    targets = {"energy": ENERGY_TARGET | {"unit": "Hartree"}}
    model = saved(tmp_path / "model.safetensors", {"energy": ENERGY}, targets)
    ev = results(model)
    frames = []
    for _ in range(3):
        atoms = crystal()
        atoms.info["E"] = ev["energy"] / units.Hartree + 0.25
        atoms.arrays["F"] = ev["forces"]
        frames.append(atoms)
    write(tmp_path / "frames.xyz", frames)
    keys = {"E": "E", "forces": "F"}
    data = XyzSpec(path=str(tmp_path / "frames.xyz"), keys=keys, cache_dir=str(tmp_path / "cache"))
    said: list[str] = []
    found = evaluate(model, data, "all", say=said.append)
    for evaluation in found.values():
        assert set(evaluation.errors) == {"energy"}
        assert evaluation.errors["energy"].unit == "Hartree"
        assert evaluation.errors["energy"].mae == pytest.approx(0.25, abs=1e-6)
    assert "labels not compared, because the model's energy is in Hartree: forces" in said


def test_what_a_file_states_is_what_the_target_claims(tmp_path: Path, make_config: MakeConfig) -> None:
    """A label of a name of the user's own is not converted, which nobody may learn from the energies alone."""
    atoms = crystal()
    atoms.info |= {"E": -0.4, "energy_unit": "Hartree"}
    write(tmp_path / "frames.xyz", [atoms] * 3)
    raw = {"kind": "xyz", "path": str(tmp_path / "frames.xyz"), "keys": {"E": "E"}, "cache_dir": str(tmp_path)}
    message = (
        f"{tmp_path / 'frames.xyz'}\n  the target energy is in eV, but the file or data.units gives 'E' another unit\n"
        "  name the label energy, so that it is converted: data.keys.energy=KEY"
    )
    model = saved(tmp_path / "ev.safetensors", {"energy": ENERGY}, {"energy": ENERGY_TARGET})
    with pytest.raises(DataError) as caught:
        evaluate(model, validate(XyzSpec, raw), "all")
    assert str(caught.value) == message
    changes = {"model.outputs": {"energy": ENERGY}, "task.targets": {"energy": ENERGY_TARGET}, "data": raw}
    with pytest.raises(DataError) as caught:
        run(make_config(changes), tmp_path / "run")
    assert str(caught.value) == message
    same = saved(tmp_path / "au.safetensors", {"energy": ENERGY}, {"energy": ENERGY_TARGET | {"unit": "Ha"}})
    found = evaluate(same, validate(XyzSpec, raw), "all")["train"].errors["energy"]
    expected = results(same)["energy"] / units.Hartree + 0.4
    assert (found.unit, found.mae) == ("Ha", pytest.approx(abs(expected), rel=1e-6))


REFUSED = {
    "task.targets.energy.unit: GPa is not a known unit of energy": {
        "task.targets.energy": ENERGY_TARGET | {"unit": "GPa"}
    },
    "task.targets.forces: 'forces' is derived from 'energy', which is in Hartree: it is in Hartree/Å, not in eV/Å": {
        "task.targets.energy": ENERGY_TARGET | {"unit": "Hartree"},
        "task.targets.forces": FORCES_TARGET,
    },
    "task.targets.forces.unit: 'forces' is derived from 'energy', which is in eV: it is in eV/Å, not in Hartree/bohr": {
        "task.targets.forces": FORCES_TARGET | {"unit": "Hartree/bohr"}
    },
}


@pytest.mark.parametrize("message", REFUSED)
def test_units_that_cannot_be_right(message: str, make_config: MakeConfig) -> None:
    data = {"kind": "xyz", "path": "a.xyz", "keys": {"energy": "e", "forces": "f", "E": "E", "F": "F"}}
    config = make_config({"data": data} | REFUSED[message])
    with pytest.raises(SpecError) as caught:
        config.typed()
    assert f"{'.'.join(map(str, caught.value.path))}: {caught.value.problem}" == message

"""Atoms without neighbours and forces that vanish: refused with the key that allows them, and then the whole road."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read as read_frames
from ase.io import write
from rich.console import Console
from support.runs import REMOVED, MakeConfig, run

from e3frame.data.pipeline.loader import load
from e3frame.data.pipeline.statistics import compute_statistics
from e3frame.data.sources.xyz import XyzSpec
from e3frame.evaluate.evaluation import evaluate
from e3frame.inference.calculator import E3FrameCalculator
from e3frame.inference.predictions import predict
from e3frame.inference.saved import load_model
from e3frame.spec.errors import DataError

STRESSED = {"energy": "energy", "forces": "forces", "stress": "stress"}


def labelled(atoms: Atoms, energy: float, forces: np.ndarray, **more: Any) -> Atoms:
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, **more)
    return atoms


def dissociation() -> list[Atoms]:
    """Copper dimers of a Morse potential, up to 7 Å apart."""
    frames = []
    for r in np.linspace(1.8, 7.0, 40):
        x = np.exp(-1.4 * (r - 2.2))
        pull = 2 * 2.0 * 1.4 * x * (1 - x)
        forces = np.array([[pull, 0, 0], [-pull, 0, 0]])
        frames.append(labelled(Atoms("Cu2", [[0, 0, 0], [r, 0, 0]]), 2.0 * ((1 - x) ** 2 - 1), forces))
    return frames


def cells() -> list[Atoms]:
    """One atom in strained cells: its forces are zero by symmetry, its stress is not."""
    rng, frames = np.random.default_rng(0), []
    for _ in range(30):
        strain = 0.03 * rng.normal(size=(3, 3))
        strain = strain + strain.T
        atoms = bulk("Cu")
        atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
        stress = 0.8 * strain + 0.3 * np.trace(strain) * np.eye(3)
        energy = atoms.cell.volume * (0.4 * (strain**2).sum() + 0.15 * np.trace(strain) ** 2)
        frames.append(labelled(atoms, float(energy), np.zeros((1, 3)), stress=stress))
    return frames


def far_apart() -> list[Atoms]:
    """Nobody near anybody: nothing but the energies of the atoms can be learned."""
    return [labelled(Atoms("CuAu", [[0, 0, 0], [9 + 0.1 * k, 0, 0]]), -3.0, np.zeros((2, 3))) for k in range(20)]


ISOLATED, ZERO = "data.allow=[isolated_atoms]", "data.allow=[zero_forces]"
ROADS: dict[str, tuple[Callable[[], list[Atoms]], dict[str, str], list[tuple[list[str], str]]]] = {
    "a dissociation": (dissociation, {}, [([], rf"(?s)has no neighbour within r_max = 4 Å\n.*{re.escape(ISOLATED)}")]),
    "one-atom cells": (cells, STRESSED, [([], rf"they are zero in all training frames\n  .*{re.escape(ZERO)}$")]),
    "far apart": (
        far_apart,
        {},
        [
            ([], re.escape(ISOLATED)),
            (["isolated_atoms"], rf"they are zero in all training frames\n  .*{re.escape(ZERO)}$"),
        ],
    ),
}


@pytest.mark.parametrize("name", ROADS)
def test_the_whole_road(name: str, make_config: MakeConfig, tmp_path: Path) -> None:
    made, keys, refused = ROADS[name]
    write(tmp_path / "a.xyz", made(), format="extxyz")
    split = {"method": "random"}
    data = {
        "kind": "xyz",
        "path": str(tmp_path / "a.xyz"),
        "split": split,
        "processes": 1,
        **({"keys": keys} if keys else {}),
    }
    data["cache_dir"] = str(tmp_path / "cache")
    changes: dict[str, Any] = {"data": data, "trainer.max_epochs": 2}
    if keys:
        changes["task.targets.stress"] = {"derive": "strain_gradient", "of": "energy"}
    for allow, message in refused:
        data["allow"] = allow
        with pytest.raises(DataError, match=message):
            run(make_config(changes), tmp_path / "refused", Console(quiet=True))
    data["allow"] = ["isolated_atoms", "zero_forces"]
    console = Console(file=io.StringIO(), record=True, width=100)
    config = make_config(changes)
    result = run(config, tmp_path / "run", console)
    assert all(math.isfinite(value) for value in _numbers(json.loads((tmp_path / "run" / "metrics.json").read_text())))
    assert "nan" not in (tmp_path / "run" / "metrics.csv").read_text().lower()
    outputs = load_model(result.model).spec.outputs["energy"].per_species_scale_shift
    assert 1e-3 < outputs.scale < 10.0
    again = evaluate(result.model, config.data)["test"]
    assert again.loss == pytest.approx(result.errors["test"].loss, rel=1e-5)
    assert predict(result.model, [tmp_path / "a.xyz"], tmp_path / "out.xyz") == len(made())
    for atoms in read_frames(tmp_path / "out.xyz", ":"):
        expected = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = E3FrameCalculator(result.model)
        np.testing.assert_allclose(atoms.get_potential_energy(), expected[0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(atoms.get_forces(), expected[1], atol=1e-4)
    lone = Atoms("Cu", [[0, 0, 0]])
    lone.calc = E3FrameCalculator(result.model)
    assert np.isfinite(lone.get_potential_energy())
    np.testing.assert_array_equal(lone.get_forces(), 0)


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for inner in value.values() for number in _numbers(inner)]
    return [value] if isinstance(value, float) else []


def read(path: Path, cache: str, **more: Any) -> XyzSpec:
    split = {"val": 0, "test": 0}
    return XyzSpec(path=str(path), cache_dir=cache, split=split, processes=1, **more)


def test_what_was_allowed_once_is_refused_without_the_key(make_config: MakeConfig, tmp_path: Path) -> None:
    """Processed data are kept, the permission is not."""
    labels = make_config().needed_labels
    write(tmp_path / "a.xyz", dissociation(), format="extxyz")
    assert len(load(read(tmp_path / "a.xyz", str(tmp_path), allow=["isolated_atoms"]), 4.0, labels).train) == 40
    with pytest.raises(DataError, match="has no neighbour"):
        load(read(tmp_path / "a.xyz", str(tmp_path)), 4.0, labels)
    write(tmp_path / "b.xyz", cells(), format="extxyz")
    train = load(read(tmp_path / "b.xyz", str(tmp_path)), 4.0, labels).train
    found = compute_statistics(train, allow=("zero_forces",))
    assert found.scale_of == "energies"
    with pytest.raises(DataError, match="all forces are zero"):
        compute_statistics(train)


def test_forces_that_rounding_left_are_no_scale(make_config: MakeConfig, tmp_path: Path) -> None:
    frames = cells()
    for atoms in frames:
        atoms.calc.results["forces"] = np.full((1, 3), 1e-13)
    write(tmp_path / "a.xyz", frames, format="extxyz")
    train = load(read(tmp_path / "a.xyz", str(tmp_path)), 4.0, make_config().needed_labels).train
    with pytest.raises(DataError, match="all forces are zero"):
        compute_statistics(train)
    energies = train.stacked("energy").numpy()
    assert compute_statistics(train, allow=("zero_forces",)).energy_scale == pytest.approx(energies.std())


ALL_ELECTRONS = {"H": -13.6057, "C": -1029.9123, "O": -2042.6187, "Cl": -12519.8871}


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("beyond", [0.0, 0.05], ids=["rounding alone", "50 meV an atom"])
def test_rounding_of_total_energies_is_no_scale(beyond: float, make_config: MakeConfig, tmp_path: Path) -> None:
    """Energies of all electrons, some -1e4 eV a frame, stored in float32: steps of 1 to 4 meV."""
    rng, frames = np.random.default_rng(0), []
    for k in range(40):
        atoms = molecule(["CH3OH", "CH3CH2OH", "CH3Cl", "CH3COCl", "H2CO", "HOCl", "C2H6", "HCl"][k % 8])
        atoms.positions += 0.02 * rng.normal(size=atoms.positions.shape)
        energy = sum(ALL_ELECTRONS[s] for s in atoms.symbols) + beyond * len(atoms) * rng.normal()
        atoms.info["E"] = float(np.float32(energy))
        frames.append(atoms)
    assert np.mean([atoms.info["E"] for atoms in frames]) < -8e3
    write(tmp_path / "a.xyz", frames, format="extxyz")
    split = {"val": 4, "test": 4}
    data = {"kind": "xyz", "path": str(tmp_path / "a.xyz"), "keys": {"energy": "E"}, "cache_dir": str(tmp_path)}
    data |= {"processes": 1, "split": split}
    energy_alone = {"task.targets.forces": REMOVED, "model.outputs.forces": REMOVED, "trainer.max_epochs": 1}
    console = Console(file=io.StringIO(), record=True, width=160)
    result = run(make_config({"data": data} | energy_alone), tmp_path / "run", console)
    references = load_model(result.model).spec.outputs["energy"].per_species_scale_shift
    said = console.export_text()
    if beyond:
        assert references.scale == pytest.approx(beyond, rel=0.3)
        assert "not known" not in said
    else:
        assert references.scale == 1.0
        assert re.search(r"energy per atom, deviation +unknown; using the scale 1 eV", said)
        assert references.shift == pytest.approx(ALL_ELECTRONS, abs=4e-3)

"""Structures that no one meant to make, in the calculator, in predictions and in training data."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from support.runs import Finished

from e3frame.data.pipeline.graphs import make_graph, model_input
from e3frame.data.pipeline.loader import load
from e3frame.data.sources.base import Label, parse_data
from e3frame.inference.calculator import E3FrameCalculator
from e3frame.inference.predictions import predict
from e3frame.inference.saved import load_model
from e3frame.spec.errors import DataError


def far(where: list[float], pbc: tuple[bool, ...]) -> Atoms:
    """Ethanol in a large cell, and a water molecule somewhere else."""
    atoms, water = molecule("CH3CH2OH", cell=[20.0, 21.0, 22.0], pbc=pbc), molecule("H2O")
    water.positions += where
    return atoms + water


@pytest.mark.parametrize(
    ("where", "pbc"),
    [
        ([4e5, 0, 0], (False, False, False)),
        ([1e5, 1e5, 0], (False, False, True)),
        ([0, 0, 4e7], (True, True, False)),
        ([20.0 * 50_000 + 10.0, 0, 0], (True, True, True)),
    ],
)
def test_molecules_far_apart_have_the_sum_of_their_energies(
    finished: Finished, where: list[float], pbc: tuple[bool, ...], tmp_path: Path
) -> None:
    calculator = E3FrameCalculator(finished.result.model)
    energies, forces = [], []
    for name in ("CH3CH2OH", "H2O"):
        atoms = molecule(name)
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    both = far(where, pbc)
    write(tmp_path / "in.xyz", both)
    predict(finished.result.model, [tmp_path / "in.xyz"], tmp_path / "out.xyz")
    predicted = read(tmp_path / "out.xyz")
    both.calc = calculator
    began = time.process_time()
    assert both.get_potential_energy() == pytest.approx(sum(energies), abs=1e-5)
    np.testing.assert_allclose(both.get_forces(), np.concatenate(forces), atol=1e-4)
    assert time.process_time() - began < 2.0
    assert predicted.get_potential_energy() == pytest.approx(sum(energies), abs=1e-4)
    np.testing.assert_allclose(predicted.get_forces(), np.concatenate(forces), atol=1e-4)


WRONG = {
    "NaN": ([0, 0, float("nan")], "the position of atom 2 is not finite: [0.0, 0.0, nan]"),
    "overflow": ([1e300, 0, 0], "the position of atom 2 is too far from the origin for exact distances: [1e+300, "),
}


@pytest.mark.parametrize("name", WRONG)
def test_positions_that_are_none(finished: Finished, name: str, tmp_path: Path) -> None:
    where, message = WRONG[name]
    water = molecule("H2O")
    water.positions[2] = where
    water.calc = E3FrameCalculator(finished.result.model)
    with pytest.raises(DataError) as found:
        water.get_potential_energy()
    assert str(found.value).startswith(f"  {message}")
    file, frames = tmp_path / "in.xyz", [molecule("H2O") for _ in range(5)]
    frames[1].positions[2] = where
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((3, 3)))
    write(file, frames)
    with pytest.raises(DataError) as found:
        predict(finished.result.model, [file], tmp_path / "out.xyz")
    assert str(found.value).startswith(f"{file}, frame 1\n  {message}")
    spec = parse_data({"kind": "xyz", "path": str(file), "cache_dir": str(tmp_path)})
    with pytest.raises(DataError) as found:
        load(spec, 4.0, {"energy": Label("graph")})
    assert str(found.value).startswith(f"{file}, frame 1\n  {message}")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (119, "atom 1 is not an element: its atomic number is 119"),
        (-1, "atom 1 is not an element: its atomic number is -1"),
        (0, "atom 1 is not an element"),
        (118, "the model does not know Og\n  it knows H, C, O"),
    ],
)
def test_what_is_no_element(finished: Finished, number: int, message: str, tmp_path: Path) -> None:
    water = molecule("H2O")
    water.numbers[1] = number
    water.calc = E3FrameCalculator(finished.result.model)
    with pytest.raises(DataError) as found:
        water.get_potential_energy()
    assert str(found.value) == f"  {message}"
    model = load_model(finished.result.model)
    graph = make_graph(water, 4.0)
    with pytest.raises(ValueError, match=rf"species are the atomic numbers .*, got also \[{number}\]"):
        model(model_input(graph))
    frames = [molecule("H2O") for _ in range(5)]
    frames[1].numbers[1] = number
    arrays = {"z": np.array([a.numbers for a in frames]), "R": np.array([a.positions for a in frames])}
    np.savez(tmp_path / "a.npz", E=np.zeros(5), **arrays)
    write(tmp_path / "a.traj", [Atoms(a.numbers, a.positions, info={"energy": 0.0}) for a in frames])
    if number == 118:
        return
    for spec, wrong in (
        ({"kind": "npz", "path": str(tmp_path / "a.npz")}, f"{number} is not an atomic number"),
        ({"kind": "xyz", "path": str(tmp_path / "a.traj")}, message),
    ):
        if spec["kind"] == "npz" and number == 0:
            continue  # there it stands for no atom
        with pytest.raises(DataError) as found:
            load(parse_data(spec | {"cache_dir": str(tmp_path)}), 4.0, {"energy": Label("graph")})
        assert str(found.value).endswith(f"  {wrong}")
        assert str(found.value).startswith(spec["path"])
    with pytest.raises(DataError) as found:
        predict(finished.result.model, [tmp_path / "a.traj"], tmp_path / "out.xyz")
    assert str(found.value) == f"{tmp_path / 'a.traj'}, frame 1\n  {message}"

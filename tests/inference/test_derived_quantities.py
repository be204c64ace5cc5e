"""Forces, stress and energies of atoms of every energy model, in the calculator and what ASE's tools do with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter, UnitCellFilter
from ase.io import read, write
from ase.md.nptberendsen import NPTBerendsen
from ase.optimize import BFGS
from support.runs import Finished
from support.saved import LAYERS, MODEL, crystal, saved, water

from e3frame.inference.calculator import E3FrameCalculator
from e3frame.inference.predictions import predict
from e3frame.inference.predictor import Predictor


def test_stress_of_a_model_that_was_not_trained_on_it(plain: Path, finished: Finished) -> None:
    """As the difference quotient of the energy, with ASE's sign and order."""
    for path in (plain, finished.result.model):
        atoms = crystal()
        atoms.calc = E3FrameCalculator(path, dtype="float64")
        assert {"energy", "free_energy", "energies", "forces", "stress"} <= set(atoms.calc.implemented_properties)
        stress = atoms.get_stress()
        assert len(set(np.round(np.abs(stress), 6))) == 6
        np.testing.assert_allclose(calculate_numerical_stress(atoms, eps=1e-5), stress, atol=1e-6)
        np.testing.assert_allclose(calculate_numerical_forces(atoms, eps=1e-4), atoms.get_forces(), atol=1e-6)


def test_what_is_derived_does_not_change_the_energy(plain: Path) -> None:
    """All of it is one model: the energy of the file, bit for bit."""
    import e3frame
    from e3frame.data.pipeline.graphs import model_input

    graph = model_input(Predictor(plain).graph(crystal()))
    with torch.no_grad():
        energy = e3frame.load_model(plain)(graph)["energy"].item()
    assert E3FrameCalculator(plain).get_potential_energy(crystal()) == energy


@pytest.mark.parametrize("pbc", [(True, True, False), (True, False, False), (False, False, False)])
def test_no_stress_without_three_periods(pbc: tuple[bool, ...], plain: Path) -> None:
    atoms = crystal()
    atoms.pbc = pbc
    atoms.calc = E3FrameCalculator(plain, dtype="float64")
    np.testing.assert_allclose(calculate_numerical_forces(atoms, eps=1e-4), atoms.get_forces(), atol=1e-6)
    with pytest.raises(PropertyNotImplementedError, match="stress not present in this calculation"):
        atoms.get_stress()


def test_energies_of_atoms_add_up(plain: Path) -> None:
    calc = E3FrameCalculator(plain, dtype="float64")
    for atoms in (crystal(), molecule("CH3CH2OH"), Atoms("H"), Atoms("CO", [[0, 0, 0], [0, 0, 50.0]])):
        energies = calc.get_property("energies", atoms)
        assert energies.shape == (len(atoms),)
        assert energies.sum() == pytest.approx(calc.get_potential_energy(atoms), abs=1e-12)
        assert calc.get_property("free_energy", atoms) == calc.get_potential_energy(atoms)
    alone = calc.get_property("energies", Atoms("CO", [[0, 0, 0], [0, 0, 50.0]]))
    np.testing.assert_allclose(alone, [calc.get_potential_energy(Atoms(s)) for s in "CO"], atol=1e-12)


def test_energies_of_atoms_hold_the_repulsion(plain: Path, tmp_path: Path) -> None:
    """Which is in eV, neither scaled nor shifted."""
    layers = {name: layer for name, layer in LAYERS.items() if name not in ("charge", "field_", "start")}
    layers |= {"conv": {**layers["conv"], "of": "species"}, "repulsion": {"kind": "zbl"}}
    energy = MODEL["outputs"]["energy"] | {"plus": "repulsion"}
    path = saved(tmp_path / "zbl.safetensors", {"inputs": {}, "layers": layers, "outputs": {"energy": energy}})
    calc, without = (E3FrameCalculator(file, dtype="float64") for file in (path, plain))
    atoms = Atoms("CO", [[0, 0, 0], [0, 0, 0.1]])
    energies = calc.get_property("energies", atoms)
    assert energies.sum() == pytest.approx(calc.get_potential_energy(atoms), abs=1e-9)
    a = 0.8854 * 0.529 / (6**0.23 + 8**0.23)
    screening = sum(
        c * np.exp(-b * 0.1 / a)
        for c, b in ((0.1818, 3.2), (0.5099, 0.9423), (0.2802, 0.4028), (0.02817, 0.2016))
    )  # fmt: skip
    repulsion = 14.3996 * 6 * 8 / 0.1 * screening / 2  # at 7 % of the envelope, which is 1 up to 1e-6
    np.testing.assert_allclose(energies - without.get_property("energies", atoms), repulsion, rtol=1e-5)


def test_energies_only_where_the_energy_is_a_sum(tmp_path: Path) -> None:
    mean = saved(tmp_path / "mean.safetensors", {"outputs": {"energy": {"kind": "mean", "of": "readout"}}})
    dipole = saved(
        tmp_path / "dipole.safetensors",
        {"layers": LAYERS | {"vector": {"kind": "linear", "of": "gate", "irreps_out": "0e + 1o"}},
         "outputs": {"dipole": {"kind": "dipole", "of": "vector"}}},
    )  # fmt: skip
    calc = E3FrameCalculator(mean)
    assert {"energy", "forces", "stress"} <= set(calc.implemented_properties)
    assert "energies" not in calc.implemented_properties
    assert E3FrameCalculator(dipole).implemented_properties == ["dipole"]
    for name in ("energy", "forces", "stress", "energies", "magmoms"):
        with pytest.raises(PropertyNotImplementedError, match=f"{name} property not implemented"):
            E3FrameCalculator(dipole).get_property(name, water())


def test_a_relaxation_of_atoms_and_cell(plain: Path) -> None:
    """With cell filters of ASE's, downhill."""
    for cell in (FrechetCellFilter, UnitCellFilter):
        atoms = crystal()
        atoms.set_constraint(FixAtoms([0]))
        atoms.calc = E3FrameCalculator(plain, dtype="float64")
        before = atoms.get_potential_energy()
        volume = atoms.get_volume()
        BFGS(cell(atoms), logfile=None).run(fmax=1e-9, steps=4)
        assert atoms.get_potential_energy() < before - 0.01
        assert atoms.get_volume() != volume
        np.testing.assert_allclose(calculate_numerical_stress(atoms, eps=1e-5), atoms.get_stress(), atol=1e-6)
        np.testing.assert_array_equal(atoms.get_forces()[0], 0.0)


def test_dynamics_at_a_pressure(plain: Path) -> None:
    atoms = crystal()
    atoms.calc = E3FrameCalculator(plain)
    volume = atoms.get_volume()
    atoms.set_momenta(np.random.default_rng(0).normal(size=(len(atoms), 3)))
    NPTBerendsen(atoms, 1.0 * units.fs, temperature_K=300, pressure_au=0.0, compressibility_au=4e-2).run(3)
    assert atoms.get_volume() != volume
    fresh = E3FrameCalculator(plain)
    np.testing.assert_array_equal(atoms.get_stress(), fresh.get_stress(atoms))


def test_predictions_of_a_file_hold_stress_and_energies(plain: Path, tmp_path: Path) -> None:
    write(tmp_path / "in.xyz", [crystal(), molecule("H2O")])
    predict(plain, [tmp_path / "in.xyz"], tmp_path / "out.xyz")
    first, second = read(tmp_path / "out.xyz", ":")
    calc = E3FrameCalculator(plain)
    np.testing.assert_allclose(first.get_stress(), calc.get_stress(crystal()), atol=1e-6)
    for found, atoms in ((first, crystal()), (second, molecule("H2O"))):
        np.testing.assert_allclose(found.calc.results["energies"], calc.get_property("energies", atoms), atol=1e-6)
    assert "stress" not in second.calc.results

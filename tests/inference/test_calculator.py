"""The calculator: fresh results whatever was changed and how, stress and energies of atoms of every energy model, and
what ASE's tools do with it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.constraints import FixAtoms
from ase.db import connect
from ase.filters import FrechetCellFilter, UnitCellFilter
from ase.io import read, write
from ase.md.nptberendsen import NPTBerendsen
from ase.optimize import BFGS
from support.runs import Finished

from e3frame.inference.calculator import E3FrameCalculator
from e3frame.inference.predictions import predict
from e3frame.inference.predictor import Predictor, with_derivatives
from e3frame.inference.saved import SavedModel, load_model, save_model
from e3frame.model import ModelSpec
from e3frame.network import Model
from e3frame.spec.errors import DataError, UserError
from e3frame.spec.validate import validate

LAYERS: dict[str, Any] = {
    "species": {"kind": "species_embedding", "irreps_out": "6x0e"},
    "charge": {"kind": "graph_to_nodes", "of": "total_charge"},
    "field_": {"kind": "graph_to_nodes", "of": "field"},
    "start": {"kind": "concatenate", "of": ["species", "charge", "field_"]},
    "edge_sh": {"kind": "spherical_harmonics", "irreps_out": "0e + 1o"},
    "radial": {"kind": "radial_basis", "num_basis": 5},
    "conv": {
        "kind": "convolution",
        "of": "start",
        "irreps_out": "gate(8x0e + 4x1o)",
        "radial_mlp": [8],
        "avg_num_neighbors": 4.0,
    },
    "gate": {"kind": "gate"},
    "readout": {"kind": "linear", "irreps_out": "0e"},
}
MODEL: dict[str, Any] = {
    "r_max": 4.0,
    "species": ["H", "C", "O"],
    "inputs": {"total_charge": "0e", "field": "1o"},
    "layers": LAYERS,
    "outputs": {"energy": {"kind": "sum", "of": "readout", "per_species_scale_shift": {"scale": 2.0, "shift": -5.0}}},
}


def saved(path: Path, changes: dict[str, Any] | None = None) -> Path:
    torch.manual_seed(0)
    return save_model(Model(validate(ModelSpec, MODEL | (changes or {}))), path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An energy of the structure, a charge and a field, which nobody asked for forces or a stress."""
    return saved(tmp_path_factory.mktemp("models") / "model.safetensors")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An energy that reads nothing but the structure."""
    layers = {name: layer for name, layer in LAYERS.items() if name not in ("charge", "field_", "start")}
    changes = {"inputs": {}, "layers": layers | {"conv": {**layers["conv"], "of": "species"}}}
    return saved(tmp_path_factory.mktemp("models") / "plain.safetensors", changes)


def water(charge: Any = 1.0, field: Any = None) -> Atoms:
    atoms = molecule("H2O")
    atoms.set_cell([6.0, 6.0, 6.0])
    atoms.info = {"total_charge": charge, "field": np.array([0.1, 0.2, 0.3]) if field is None else field}
    return atoms


def crystal() -> Atoms:
    atoms = bulk("C", "diamond", a=3.4, cubic=False).repeat((2, 1, 1))
    atoms.symbols[1] = "O"
    shear = np.array([[0.0, 0.3, 0.1], [0.0, 0.1, 0.0], [-0.1, 0.0, 0.2]])
    atoms.set_cell(atoms.cell.array + shear, scale_atoms=True)
    atoms.rattle(0.1, seed=1)
    return atoms


def add_to_field(atoms: Atoms) -> None:
    atoms.info["field"] += 0.5


def add_to_list(atoms: Atoms) -> None:
    atoms.info["field"][1] = 3.0


def add_to_charge(atoms: Atoms) -> None:
    atoms.info["total_charge"][...] = -1.0


def other_key(atoms: Atoms) -> None:
    atoms.info["charge"] = 5.0
    del atoms.info["total_charge"]


CHANGES: dict[str, tuple[Atoms, Callable[[Atoms], Any]]] = {
    "an array in place": (water(), add_to_field),
    "a list in place": (water(field=[0.1, 0.2, 0.3]), add_to_list),
    "a number in an array in place": (water(charge=np.array(1.0)), add_to_charge),
    "a number": (water(), lambda atoms: atoms.info.update(total_charge=2.0)),
    "a key that appears as another vanishes": (water(), other_key),
    "positions in place": (water(), lambda atoms: atoms.positions.__setitem__((0, 0), 0.3)),
    "numbers in place": (water(), lambda atoms: atoms.numbers.__setitem__(0, 6)),
    "the cell in place": (water(), lambda atoms: atoms.cell.__setitem__((0, 0), 3.0)),
    "periods in place": (water(), lambda atoms: atoms.pbc.__setitem__(0, False)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_changed_gives_fresh_results(name: str, model: Path) -> None:
    atoms, change = CHANGES[name]
    atoms = copy.deepcopy(atoms)
    atoms.pbc = name in ("the cell in place", "periods in place")
    if atoms.pbc.any():
        atoms.set_cell([2.9, 6.0, 6.0])
    atoms.calc = E3FrameCalculator(model, dtype="float64")
    before, forces = atoms.get_potential_energy(), atoms.get_forces()
    assert atoms.calc.check_state(atoms) == []
    change(atoms)
    assert atoms.calc.check_state(atoms) != []
    fresh = E3FrameCalculator(model, dtype="float64")
    assert atoms.get_potential_energy() == fresh.get_potential_energy(atoms) != before
    np.testing.assert_array_equal(atoms.get_forces(), fresh.get_forces(atoms))
    assert not np.array_equal(atoms.get_forces(), forces)


ONES: dict[str, Any] = {
    "int8": np.int8(1),
    "float16": np.float16(1),
    "long double": np.longdouble(1),
    "big-endian": np.array(1.0, dtype=">f8"),
    "a matrix": np.array([[1]]),
    "a tensor with gradients": torch.tensor(1.0, requires_grad=True),
    "bfloat16": torch.tensor([1.0], dtype=torch.bfloat16),
    "an integer tensor": torch.tensor(1),
    "a masked array without mask": np.ma.array([1.0], mask=[False]),
}
NO_NUMBERS: dict[str, tuple[Any, str]] = {
    "objects": (np.array([1], dtype=object), "total_charge is not a number: [1]"),
    "lists of different lengths": ([[1], [1, 2]], "total_charge is not a number: [[1], [1, 2]]"),
    "complex": (1 + 0j, "total_charge is not a number: (1+0j)"),
    "a mask": (np.ma.array([1], mask=[True]), "total_charge is not finite: nan"),
    "a bool": (np.bool_(True), "total_charge is not a number: True"),
}


def test_inputs_of_any_type(model: Path) -> None:
    calc = E3FrameCalculator(model)
    expected = calc.get_potential_energy(water(charge=1.0))
    for name, value in ONES.items():
        assert calc.get_potential_energy(water(charge=value)) == expected, name
    for value, message in NO_NUMBERS.values():
        with pytest.raises(DataError) as caught:
            calc.get_potential_energy(water(charge=value))
        assert str(caught.value).strip() == message


def test_a_model_whose_weights_are_changed_gives_fresh_results(model: Path) -> None:
    atoms = water()
    atoms.calc = E3FrameCalculator(model)
    network = atoms.calc.predictor.model
    weight = network.layers["readout"].weight
    seen = {atoms.get_potential_energy()}
    weight.data.mul_(2.0)
    seen.add(atoms.get_potential_energy())
    weight.detach().numpy()[...] *= 2.0
    seen.add(atoms.get_potential_energy())
    network.layers["energy"].scale_shift.shift += 1.0
    seen.add(atoms.get_potential_energy())
    assert len(seen) == 4


def test_one_calculator_of_several_atoms(model: Path) -> None:
    calc = E3FrameCalculator(model)
    first, second = water(1.0), water(-1.0)
    first.calc = second.calc = calc
    energies = [atoms.get_potential_energy() for atoms in (first, second, first, second)]
    assert energies[:2] == energies[2:]
    assert energies[0] != energies[1]


def test_results_cannot_be_spoiled(model: Path) -> None:
    atoms = water()
    atoms.calc = E3FrameCalculator(model)
    forces = atoms.get_forces()
    for array in (atoms.calc.results["forces"], atoms.calc.results["energies"]):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0.0
    forces[:] = 0.0  # the user's own copy
    assert atoms.get_forces().any()


def test_a_calculation_that_fails_leaves_nothing(model: Path) -> None:
    good, bad = water(), water()
    bad.symbols[0] = "Si"
    calc = E3FrameCalculator(model)
    calc.calculate(good)
    for attempt in (calc.calculate, calc.get_potential_energy, calc.get_potential_energy):
        with pytest.raises(DataError, match=r"the model does not know Si\n  it knows H, C, O"):
            attempt(bad)
        assert calc.results == {}
    lacking = water()
    calc.calculate(lacking)
    del lacking.info["field"]
    for _ in range(2):
        with pytest.raises(DataError, match="the model reads field"):
            calc.get_forces(lacking)
    assert calc.get_potential_energy(good) == E3FrameCalculator(model).get_potential_energy(good)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms(), "  no atoms"),
        (Atoms([119], [[0, 0, 0]]), "  atom 0 is not an element: its atomic number is 119"),
        (Atoms([-1], [[0, 0, 0]]), "  atom 0 is not an element: its atomic number is -1"),
        (Atoms([0], [[0, 0, 0]]), "  atom 0 is not an element"),
        (None, "the calculator has no atoms\n  atoms.calc = calculator, or give it atoms"),
    ],
)
def test_atoms_that_are_none(atoms: Atoms | None, message: str, plain: Path) -> None:
    with pytest.raises(UserError) as caught:
        E3FrameCalculator(plain).get_potential_energy(atoms)
    assert str(caught.value) == message


def test_what_is_not_finite_is_said(plain: Path, tmp_path: Path) -> None:
    """Never a number that is none: an energy too large for the weights' dtype, here."""
    calc = E3FrameCalculator(plain)
    atoms = molecule("H2O")
    assert np.isfinite(calc.get_potential_energy(atoms))
    calc.predictor.model.layers["readout"].weight.data.fill_(3e38)
    for ask in (calc.get_potential_energy, calc.get_forces):
        with pytest.raises(DataError, match=r"^  the model's energy is not finite\n  are atoms much"):
            ask(atoms)
        assert calc.results == {}
    write(tmp_path / "in.xyz", [molecule("H2O"), molecule("CO2")])
    model = Model(validate(ModelSpec, Predictor(plain).model.spec.model_dump(mode="json")))
    model.layers["readout"].weight.data.fill_(3e38)
    huge = save_model(model, tmp_path / "huge.safetensors")
    with pytest.raises(DataError, match=r"in.xyz, frame 0\n  the model's energy is not finite"):
        predict(huge, [tmp_path / "in.xyz"], tmp_path / "out.xyz")
    assert not (tmp_path / "out.xyz").exists()


KEYWORDS = {
    "default_dtype": "did you mean dtype?",
    "dtyp": "did you mean dtype?",
    "Device": "did you mean device?",
    "model_paths": "did you mean model?",
    "plugin": "did you mean plugins?",
    "qwertz": "known: model, device, dtype, plugins, keys, atoms, label, directory",
    "restart": "known: model, device, dtype, plugins, keys, atoms, label, directory",
}


@pytest.mark.parametrize("name", KEYWORDS)
def test_an_unknown_keyword_is_an_error(name: str, plain: Path) -> None:
    with pytest.raises(UserError) as caught:
        E3FrameCalculator(**{"model": plain, name: "float64"})
    assert str(caught.value) == f"E3FrameCalculator has no keyword '{name}'\n  {KEYWORDS[name]}"


def test_other_keywords(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs a model\n  model='runs"):
        E3FrameCalculator()
    with pytest.raises(UserError, match=r"dtype=fp64: no such floating-point type\n  did you mean float64\?"):
        E3FrameCalculator(plain, dtype="fp64")
    with pytest.raises(UserError, match=r"device=cuda:77: this machine has none"):
        E3FrameCalculator(plain, device="cuda:77")
    atoms = molecule("H2O")
    calc = E3FrameCalculator(plain, atoms=atoms, directory=tmp_path)
    assert atoms.calc is calc
    with pytest.raises(UserError, match=r"dtype cannot be set\n  make a new calculator"):
        calc.set(dtype="float64")


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


def test_copies_and_pickles(model: Path) -> None:
    atoms = water()
    calc = E3FrameCalculator(model)
    energy = calc.get_potential_energy(atoms)
    for other in (
        copy.deepcopy(calc),
        pickle.loads(pickle.dumps(calc)),
        pickle.loads(pickle.dumps(E3FrameCalculator(model))),
    ):
        assert other.get_potential_energy(atoms) == energy
        other.predictor.model.layers["readout"].weight.data.mul_(2.0)
        assert other.get_potential_energy(atoms) != energy
    assert calc.check_state(atoms) == []
    again = copy.deepcopy(atoms)
    again.calc = calc
    moved = copy.deepcopy(again)
    moved.positions[0, 0] += 0.1
    assert moved.get_potential_energy() != energy == again.get_potential_energy()


def test_threads(plain: Path) -> None:
    """A calculator for each thread, as ASE has it."""
    frames = [molecule(name) for name in ("H2O", "CH4", "CO2", "CH3CH2OH")] * 2
    expected = [E3FrameCalculator(plain).get_forces(atoms) for atoms in frames]
    calculators = [E3FrameCalculator(plain) for _ in frames]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda pair: pair[0].get_forces(pair[1]), zip(calculators, frames, strict=True)))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


MODES: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu"),
    "another default device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("mode", MODES)
def test_modes_of_the_caller_change_nothing(mode: str, plain: Path, tmp_path: Path) -> None:
    """Whether the model is loaded within them, or run, or both."""
    outside, atoms = E3FrameCalculator(plain), crystal()
    expected = results_of(outside, atoms)
    write(tmp_path / "frames.xyz", atoms)
    with MODES[mode]():
        found = [results_of(E3FrameCalculator(plain), atoms), results_of(outside, molecule("H2O"), atoms)]
        predict(plain, [tmp_path / "frames.xyz"], tmp_path / "out.xyz")
    for each in found:
        assert each.keys() == expected.keys()
        for name, value in each.items():
            # In float32: with a mode for the default device, kernels of another order of additions may run.
            np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=2e-6, err_msg=name)
    assert read(tmp_path / "out.xyz").get_potential_energy() == pytest.approx(expected["energy"], rel=1e-7)


def results_of(calc: E3FrameCalculator, *structures: Atoms) -> dict[str, Any]:
    for atoms in structures:
        calc.calculate(atoms)
    return dict(calc.results)


def test_a_module_within_inference_mode(plain: Path) -> None:
    """Of the weights and the graph, either may be made within it."""
    outside = load_model(plain)
    graph = Predictor(plain).graph(crystal())
    given = {key: graph[key] for key in ("pos", "z", "edge_index", "edge_shift", "cell")}
    spec = with_derivatives(outside.spec)
    expected = SavedModel.read(plain).build(spec=spec)(given)
    with torch.inference_mode():
        inside = SavedModel.read(plain).build(spec=spec)({key: value.clone() for key, value in given.items()})
    for name, value in inside.items():
        assert not value.requires_grad
        torch.testing.assert_close(value, expected[name].detach(), rtol=0, atol=0)


def test_files_of_ases_own(plain: Path, tmp_path: Path) -> None:
    atoms = crystal()
    atoms.calc = E3FrameCalculator(plain)
    energy, stress = atoms.get_potential_energy(), atoms.get_stress()
    write(tmp_path / "a.traj", atoms)
    with connect(tmp_path / "a.db") as database:
        database.write(atoms)
    for found in (read(tmp_path / "a.traj"), connect(tmp_path / "a.db").get_atoms(1)):
        assert found.get_potential_energy() == energy
        np.testing.assert_allclose(found.get_stress(), stress)

"""The calculator: fresh results whatever was changed and how, and its copies, threads and modes."""

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
from ase import Atoms
from ase.build import molecule
from ase.db import connect
from ase.io import read, write
from support.saved import crystal, water

from e3frame.inference.calculator import E3FrameCalculator
from e3frame.inference.predictions import predict
from e3frame.inference.predictor import Predictor, with_derivatives
from e3frame.inference.saved import SavedModel, load_model, save_model
from e3frame.model import ModelSpec
from e3frame.network import Model
from e3frame.spec.errors import DataError, UserError
from e3frame.spec.validate import validate


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
        with pytest.raises(DataError, match="the model needs the input field"):
            calc.get_forces(lacking)
    assert calc.get_potential_energy(good) == E3FrameCalculator(model).get_potential_energy(good)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms(), "  no atoms"),
        (Atoms([119], [[0, 0, 0]]), "  atom 0 is not an element: its atomic number is 119"),
        (Atoms([-1], [[0, 0, 0]]), "  atom 0 is not an element: its atomic number is -1"),
        (Atoms([0], [[0, 0, 0]]), "  atom 0 is not an element"),
        (None, "the calculator has no atoms\n  set atoms.calc = calculator, or pass atoms"),
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
    with pytest.raises(UserError, match=r"dtype cannot be changed\n  create a new calculator"):
        calc.set(dtype="float64")


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

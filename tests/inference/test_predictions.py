"""Models on files, on labelled data, and as an ASE calculator."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.fd import calculate_numerical_forces
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.stress import voigt_6_to_full_3x3_stress
from rich.console import Console
from support.runs import Finished

from e3frame.cli import main
from e3frame.data.pipeline.loader import load
from e3frame.data.sources.base import DataSpec, parse_data
from e3frame.evaluate.evaluation import error_table, evaluate, evaluate_split
from e3frame.inference.calculator import E3FrameCalculator
from e3frame.inference.predictions import predict
from e3frame.inference.predictor import Predictor
from e3frame.inference.saved import load_model, save_model
from e3frame.spec.errors import DataError, UserError
from e3frame.spec.units import Units


@pytest.fixture
def structures() -> list[Atoms]:
    """A molecule with extras, one in a cell, one with another element order, and a lone atom."""
    ethanol, acid, water, atom = (molecule(name) for name in ("CH3CH2OH", "CH3COOH", "H2O", "H"))
    ethanol.info["tag"] = 7
    ethanol.new_array("charge_guess", np.arange(9.0))
    ethanol.calc = SinglePointCalculator(ethanol, energy=-1.0, forces=np.ones((9, 3)))
    acid.set_cell([7.0, 7.5, 8.0])
    acid.pbc = True
    return [ethanol, acid, water, atom]


def test_predictions_in_a_file(finished: Finished, structures: list[Atoms], tmp_path: Path) -> None:
    source, out = tmp_path / "in.xyz", tmp_path / "out.xyz"
    write(source, structures)
    assert predict(finished.result.model, [source], out, batch_size=3) == 4
    predictor = Predictor(finished.result.model)
    found = read(out, ":")
    assert len(found) == 4
    for before, after in zip(structures, found, strict=True):
        (values,) = predictor.run([predictor.graph(before)])
        assert after.get_potential_energy() == pytest.approx(values["energy"].item(), abs=1e-5)
        np.testing.assert_allclose(after.get_forces(), values["forces"], atol=1e-5)  # files hold 8 decimals
        np.testing.assert_allclose(after.positions, before.positions, atol=1e-8)
        assert (after.symbols == before.symbols).all()
        assert (after.pbc == before.pbc).all()
    assert found[0].info["tag"] == 7
    np.testing.assert_array_equal(found[0].arrays["charge_guess"], np.arange(9.0))
    assert found[0].get_potential_energy() != -1.0


def test_units_of_the_files(finished: Finished, structures: list[Atoms], tmp_path: Path) -> None:
    write(tmp_path / "a.xyz", structures[2])
    scaled = structures[2].copy()
    scaled.positions /= 10.0
    write(tmp_path / "nm.xyz", scaled)
    predict(finished.result.model, [tmp_path / "a.xyz"], tmp_path / "a_out.xyz")
    predict(finished.result.model, [tmp_path / "nm.xyz"], tmp_path / "nm_out.xyz", units=Units(length="nm"))
    first, second = read(tmp_path / "a_out.xyz"), read(tmp_path / "nm_out.xyz")
    np.testing.assert_allclose(first.get_forces(), second.get_forces(), atol=1e-4)


def test_an_unknown_element(finished: Finished, tmp_path: Path) -> None:
    source = tmp_path / "in.xyz"
    write(source, [molecule("H2O"), molecule("SiH4")])
    with pytest.raises(DataError) as caught:
        predict(finished.result.model, [source], tmp_path / "out.xyz")
    assert str(caught.value) == f"{source}, frame 1\n  the model does not know Si\n  it knows H, C, O"
    assert [path.name for path in tmp_path.iterdir()] == ["in.xyz"]


def test_files_that_are_there_and_not_there(finished: Finished, tmp_path: Path) -> None:
    source, out = tmp_path / "in.xyz", tmp_path / "out.xyz"
    with pytest.raises(DataError, match=r"in.xyz\n  no such file"):
        predict(finished.result.model, [source], out)
    write(source, molecule("H2O"))
    out.write_text("precious")
    with pytest.raises(UserError, match=r"out.xyz exists\n  choose another name"):
        predict(finished.result.model, [source], out)
    assert out.read_text() == "precious"
    assert predict(finished.result.model, [source], out, overwrite=True) == 1
    with pytest.raises(UserError, match=r"out.xyz: there is no folder"):
        predict(finished.result.model, [source], tmp_path / "nowhere" / "out.xyz")


def test_the_calculator(finished: Finished, structures: list[Atoms]) -> None:
    predictor = Predictor(finished.result.model)
    for atoms in structures:
        (values,) = predictor.run([predictor.graph(atoms)])
        atoms.calc = E3FrameCalculator(finished.result.model)
        assert atoms.get_potential_energy() == values["energy"].item()
        assert atoms.get_potential_energy(force_consistent=True) == values["energy"].item()
        np.testing.assert_array_equal(atoms.get_forces(), values["forces"])


def test_the_calculators_forces_are_derivatives(finished: Finished) -> None:
    atoms = molecule("CH3OH")
    atoms.calc = E3FrameCalculator(finished.result.model, dtype="float64")
    assert "dipole" not in atoms.calc.implemented_properties
    forces = atoms.get_forces()
    np.testing.assert_allclose(calculate_numerical_forces(atoms, eps=1e-4), forces, atol=1e-6)
    with pytest.raises(DataError, match="the model does not know Si"):
        E3FrameCalculator(finished.result.model).get_potential_energy(molecule("SiH4"))


def test_evaluation_of_a_saved_model(finished: Finished) -> None:
    (test,) = evaluate(finished.result.model, finished.config.data).values()
    assert test.errors == finished.result.errors["test"].errors
    every = evaluate(finished.result.model, finished.config.data, split="all")
    assert list(every) == ["train", "val", "test"]
    assert all(every[name].errors == finished.result.errors[name].errors for name in every)
    assert error_table(every, "errors").row_count == 3 * 3
    shown = Console(width=200, file=io.StringIO())
    shown.print(error_table(every, "errors of runs/[/red][bold]\x1b[2J.safetensors"))
    assert "errors of runs/[/red][bold]" in shown.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in shown.file.getvalue()  # type: ignore[attr-defined]


def test_evaluation_on_other_data(finished: Finished, tmp_path: Path) -> None:
    """Labels that are not there are left out; a model without a task is compared under its outputs' names."""
    frames = [molecule("H2O"), molecule("CH4")]
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, energy=-50.0)
    write(tmp_path / "mine.xyz", frames)
    raw = {"kind": "xyz", "path": str(tmp_path / "mine.xyz"), "cache_dir": str(tmp_path), "keys": {"energy": "energy"}}
    data = parse_data(raw | {"split": {"val": 0, "test": 0}})
    bare = save_model(load_model(finished.result.model), tmp_path / "bare.safetensors")
    for model in (finished.result.model, bare):
        (found,) = evaluate(model, data, split="train").values()
        assert list(found.errors) == ["energy"]
        assert found.frames == 2
    with pytest.raises(UserError, match=r"the data have no test frames\n  choose train or all"):
        evaluate(bare, data)
    said: list[str] = []
    other = parse_data(raw | {"keys": {"q": "q"}, "split": {"val": 0, "test": 0}})
    (found,) = evaluate(bare, other, split="train", say=said.append).values()
    assert list(found.residuals) == list(found.errors) == ["energy"]
    assert said == ["labels not compared, because the model does not predict them: q"]
    with pytest.raises(UserError, match=r"the data have none of the labels energy, forces\n  labels of the data: mu,"):
        evaluate(bare, parse_data({"kind": "qm9"}))


@pytest.fixture
def labelled(tmp_path: Path) -> Callable[..., DataSpec]:
    """``labelled(keys)``: crystals and molecules, with labels under some names, of which some frames have none."""

    def make(file: str = "mine.xyz", count: int = 12, split: dict | None = None, **keys: str) -> DataSpec:
        frames = []
        for k in range(count):
            atoms = bulk("C", "diamond", a=3.5) if k % 2 else molecule("CH4")
            atoms.rattle(0.03, seed=k)
            atoms.info["E_dft"] = -50.0 - k
            if k % 3 == 0:
                atoms.arrays["F_dft"] = np.full((len(atoms), 3), 0.1)
            if k % 2:
                atoms.info["S"] = np.arange(6.0)
            frames.append(atoms)
        write(tmp_path / file, frames, format="extxyz")
        raw = {"kind": "xyz", "path": str(tmp_path / file), "cache_dir": str(tmp_path), "preflight": "off"}
        return parse_data(raw | {"split": split or {"val": 0, "test": 0}} | ({"keys": keys} if keys else {}))

    return make


def test_whatever_labels_there_are_are_compared(finished: Finished, labelled: Callable[..., DataSpec]) -> None:
    """Frames that lack one are left out and counted; a stress follows from the energy, trained or not."""
    said: list[str] = []
    data = labelled(energy="E_dft", forces="F_dft", stress="S", charges="q")
    (found,) = evaluate(finished.result.model, data, split="train", say=said.append).values()
    assert {name: errors.frames for name, errors in found.errors.items()} == {"energy": None, "forces": 4, "stress": 6}
    assert said == ["labels not compared, because the model does not predict them: charges"]
    calc = E3FrameCalculator(finished.result.model)
    frames = read(data.path[0], ":")
    energies = [calc.get_potential_energy(atoms) - atoms.info["E_dft"] for atoms in frames]
    assert found.errors["energy"].mae == pytest.approx(1000 * np.mean(np.abs(energies)), rel=1e-5)
    stresses = [voigt_6_to_full_3x3_stress(calc.get_stress(a) - np.arange(6.0)) for a in frames if a.pbc.all()]
    assert found.errors["stress"].rmse == pytest.approx(1000 * np.sqrt(np.mean(np.square(stresses))), rel=1e-5)
    table = error_table({"train": found}, "errors")
    assert list(map(str, table.columns[2].cells)) == ["12", "12", "4 of 12", "6 of 12"]


def test_what_is_not_there_is_said_with_the_key_to_write(
    finished: Finished, labelled: Callable[..., DataSpec], capsys: pytest.CaptureFixture[str]
) -> None:
    model, said = finished.result.model, []
    (found,) = evaluate(model, labelled(energy="E_dft", forces="forces"), split="train", say=said.append).values()
    assert list(found.residuals) == ["energy", "forces"]
    assert list(found.errors) == ["energy"]
    assert said == [
        "no frame has the key 'forces' of forces: did you mean data.keys.forces=F_dft?", "existing keys: E_dft, F_dft"
    ]  # fmt: skip
    data = labelled()
    with pytest.raises(DataError) as caught:
        evaluate(model, data, split="train")
    assert str(caught.value) == (
        f"{data.path[0]}\n  no frame has a label energy, forces\n"
        "  no frame has the key 'energy' of energy: did you mean data.keys.energy=E_dft?\n"
        "  no frame has the key 'forces' of forces: did you mean data.keys.forces=F_dft?\n  existing keys: E_dft, F_dft"
    )
    arguments = [f"model={model}", "data=xyz", f"data.path={data.path[0]}", f"data.cache_dir={data.cache_dir}"]
    for change in ("data.keys={energy: E_dft}", "data.allow_missing=[forces]"):
        assert main(["evaluate", *arguments, "data.keys.energy=E_dft", change, "split=test"]) == 0
        out = capsys.readouterr().out
        assert "test: 1 of 12 frames; split=all uses all\n" in out
    assert main(["evaluate", *arguments, "data.keys.energy=E_dft", "split=all"]) == 0
    assert "energy  all         12" in capsys.readouterr().out


def test_predictions_that_are_not_numbers_name_their_frame(finished: Finished) -> None:
    config = finished.config
    test = load(config.data, config.model.r_max, config.task.labels).test[10:20]
    model = load_model(finished.result.model)
    good = model.forward
    frames = [int(graph.frame) for graph in test]
    for name, index in (("energy", 9), ("forces", 6)):

        def spoiled(graph: dict[str, torch.Tensor], name: str = name, index: int = index) -> dict[str, torch.Tensor]:
            outputs = good(graph)
            if torch.equal(graph["pos"][-1], test[index].pos[-1]):
                outputs[name][-1] = float("nan")
            return outputs

        model.forward = spoiled
        with pytest.raises(DataError) as caught:
            evaluate_split(model, test, config.task, batch_size=1)
        assert str(caught.value) == f"data=sample, frame {frames[index]}\n  the model's {name} is not finite"


def test_evaluation_refuses_unknown_elements(finished: Finished, tmp_path: Path) -> None:
    frames = [molecule("H2O"), molecule("SiH4")]
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, energy=-50.0, forces=np.zeros((len(atoms), 3)))
    write(tmp_path / "mine.xyz", frames)
    data = parse_data({"kind": "xyz", "path": str(tmp_path / "mine.xyz"), "cache_dir": str(tmp_path)})
    with pytest.raises(DataError) as caught:
        evaluate(finished.result.model, data.replace(split=data.split.replace(val=0, test=0)), split="all")
    assert str(caught.value) == f"{tmp_path}/mine.xyz, frame 1\n  the model does not know Si\n  it knows H, C, O"

"""Single atoms are reference energies where the model has none or the same, and frames like all others elsewhere."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from rich.console import Console
from support.runs import MakeConfig, run

from e3frame.config.run import RunConfig
from e3frame.evaluate.evaluation import evaluate
from e3frame.inference.saved import load_model
from e3frame.run import worker
from e3frame.run.training import RunResult
from e3frame.spec.errors import DataError

pytestmark = pytest.mark.usefixtures("without_figures")


def labelled(atoms: Atoms, energy: float, forces: np.ndarray) -> Atoms:
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return atoms


def with_single_atoms(path: Path, offset: float = 0.0) -> dict[str, float]:
    """Molecules, and the free atoms they are made of, hydrogen in two states."""
    rng, single = np.random.default_rng(0), {"H": -13.6, "C": -1029.9, "O": -2042.6}
    frames = [labelled(Atoms(s), e + offset, np.zeros((1, 3))) for s, e in [*single.items(), ("H", -3.4)]]
    for k in range(24):
        atoms = molecule(["CH3OH", "H2O"][k % 2])
        atoms.positions += 0.05 * rng.normal(size=atoms.positions.shape)
        forces = rng.normal(size=atoms.positions.shape)
        energy = sum(single[s] for s in atoms.symbols) - 3.0 * len(atoms) + 0.1 * rng.normal()
        frames.append(labelled(atoms, energy, forces - forces.mean(0)))
    write(path, frames, format="extxyz")
    return {symbol: energy + offset for symbol, energy in single.items()}


def test_a_further_process_trains_on_the_same_frames(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the config in the folder, whose references are numbers by then."""
    with_single_atoms(tmp_path / "a.xyz")
    data = {"kind": "xyz", "path": str(tmp_path / "a.xyz"), "cache_dir": str(tmp_path), "preflight": "off"}
    config = make_config({"data": {**data, "split": {"method": "random"}}, "trainer.max_epochs": 1})
    result = run(config, tmp_path / "run", Console(quiet=True))
    trained: list[dict[str, int]] = []
    record = lambda session, splits: trained.append({name: len(frames) for name, frames in splits.items()})  # noqa: E731
    monkeypatch.setattr(worker, "train", record)
    assert worker.main(str(tmp_path / "run")) == 0
    assert trained == [{name: evaluation.frames for name, evaluation in result.errors.items()}]
    assert sum(trained[0].values()) == 24


@pytest.mark.parametrize("place", ["references", "frames", "another theory"])
def test_single_atoms_are_references(place: str, make_config: MakeConfig, tmp_path: Path) -> None:
    expected = with_single_atoms(tmp_path / "a.xyz", 500.0 if place == "another theory" else 0.0)
    data = {
        "kind": "xyz",
        "path": str(tmp_path / "a.xyz"),
        "cache_dir": str(tmp_path),
        "processes": 1,
        "preflight": "warn",
    }
    data |= {"split": {"method": "random"}} | ({"single_atoms": "frames"} if place == "frames" else {})
    console = Console(file=io.StringIO(), record=True, width=200)
    config = make_config({"data": data, "trainer.max_epochs": 1})
    result = run(config, tmp_path / "run", console)
    said, frames = console.export_text(), sum(evaluation.frames for evaluation in result.errors.values())
    shift = load_model(result.model).spec.outputs["energy"].per_species_scale_shift.shift
    if place == "references":
        assert shift == pytest.approx(expected, abs=1e-9)
        assert (
            "4 frames of single atoms (H, C, O) are used as reference energies, not for training; "
            "set data.single_atoms=frames to train on them" in said
        )
        assert "single H atoms have several energies; the lowest is used" in said
        assert frames == 24
        longer = config.replace(trainer=config.trainer.replace(max_epochs=2))
        again = run(longer, tmp_path / "run", Console(quiet=True))  # the config there has numbers
        assert again.epochs == 2
        assert sum(evaluation.frames for evaluation in again.errors.values()) == 24
    elif place == "frames":
        assert "single atoms" not in said
        assert frames == 28
    else:
        assert ": the energy of the other frames is 503 eV per atom lower, so the level of theory may differ; " in said
        assert frames == 28


# Where the model has numbers


def with_numbers(make_config: MakeConfig, folder: Path, off: float = 0.0, allow: tuple[str, ...] = ()) -> RunConfig:
    """The same data, and the energies of their single atoms as shifts, that of oxygen ``off`` by some eV."""
    shift = with_single_atoms(folder / "a.xyz")
    shift["O"] += off
    data = {"kind": "xyz", "path": str(folder / "a.xyz"), "cache_dir": str(folder), "processes": 1, "allow": allow}
    data |= {"preflight": "off", "split": {"method": "random"}}
    references = {"model.outputs.energy.per_species_scale_shift": {"scale": 1.5, "shift": shift}}
    return make_config({"data": data, "trainer.max_epochs": 1} | references)


def trained(config: RunConfig, folder: Path) -> tuple[RunResult, str]:
    console = Console(file=io.StringIO(), record=True, width=200)
    return run(config, folder, console), console.export_text()


def require_same_errors(result: RunResult, config: RunConfig) -> list[str]:
    """What ``evaluate`` says; its errors are those of the run."""
    said: list[str] = []
    found = evaluate(result.model, config.data, "all", say=said.append)
    assert {n: e.as_json() for n, e in found.items()} == {n: e.as_json() for n, e in result.errors.items()}
    return said


@pytest.mark.parametrize("off", [0.9e-3, -0.9e-3])
def test_numbers_that_agree(off: float, make_config: MakeConfig, tmp_path: Path) -> None:
    config = with_numbers(make_config, tmp_path, off)
    result, said = trained(config, tmp_path / "run")
    assert "4 frames of single atoms (H, C, O) are used as reference energies, not for training" in said
    assert sum(evaluation.frames for evaluation in result.errors.values()) == 24
    text = (
        "4 frames of single atoms (H, C, O) define the model's reference energies and are excluded; "
        "data.single_atoms=fr"
    )
    assert sum(remark.startswith(text) for remark in require_same_errors(result, config)) == 1


@pytest.mark.parametrize("off", [1.1e-3, -0.5])
def test_numbers_that_differ(off: float, make_config: MakeConfig, tmp_path: Path) -> None:
    differ = f"O has energy -2042.6, but its shift is {-2042.6 + off:.9g}"
    message = f"single atoms (H, C, O) differ from the model's references: {differ}\n  to train on them: data.allow=[is"
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        run(with_numbers(make_config, tmp_path, off), tmp_path / "refused", Console(quiet=True))
    assert caught.value.file == str(tmp_path / "a.xyz")
    assert caught.value.frame in range(4)
    config = with_numbers(make_config, tmp_path, off, ("isolated_atoms",))
    result, said = trained(config, tmp_path / "run")
    sentence = f"4 frames of single atoms (H, C, O) are treated like all other frames: {differ}"
    assert sentence in said
    assert "used as reference energies" not in said
    assert sum(evaluation.frames for evaluation in result.errors.values()) == 28
    assert sentence in require_same_errors(result, config)
    scale_shift = load_model(result.model).spec.outputs["energy"].per_species_scale_shift
    assert scale_shift.shift["O"] == pytest.approx(-2042.6 + off, abs=1e-9)
    longer = config.replace(trainer=config.trainer.replace(max_epochs=2))
    again = run(longer, tmp_path / "run", Console(quiet=True))
    assert sum(evaluation.frames for evaluation in again.errors.values()) == 28


@pytest.mark.parametrize("numbers", [True, False])
def test_one_output_has_the_references_before_and_after(numbers: bool, make_config: MakeConfig) -> None:
    """Its ``auto`` may stand or be resolved: a resumed run asks the same label."""
    shift: Any = {"H": -1.0} if numbers else "auto"
    other = {"kind": "sum", "of": "readout", "per_species_scale_shift": {"scale": 1.0, "shift": 0.0}}
    config = make_config(
        {
            "data": {"kind": "xyz", "path": "a.xyz", "keys": {"energy": "energy", "forces": "forces", "gap": "gap"}},
            "model.outputs": {
                "gap": other,
                "energy": {"kind": "sum", "of": "readout", "per_species_scale_shift": {"scale": 1.0, "shift": shift}},
                "forces": {"kind": "negative_gradient", "of": "energy"},
            },
            "task.targets.gap": {"irreps": "0e", "per": "graph"},
        }
    )
    shifts = config.typed().shifts
    assert shifts is not None
    assert shifts == ("energy", {"H": -1.0} if numbers else None)
    assert [shifts.of("H"), shifts.of("C")] == [-1.0 if numbers else None, None]

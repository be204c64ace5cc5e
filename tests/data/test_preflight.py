"""What is said of data before training: each mistake in known data is found and named, and the data themselves pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from e3frame.cli import main
from e3frame.data.dataset import GraphDataset, Splits
from e3frame.data.graphs import Graph
from e3frame.data.preflight.duplicates import check_duplicates
from e3frame.data.preflight.findings import Finding
from e3frame.data.preflight.gradient import check_gradient, check_stress
from e3frame.data.preflight.look import Asked, look, require_sound
from e3frame.data.preflight.tensors import check_frame
from e3frame.data.sample import LABELS
from e3frame.data.specs import Label, SampleSpec, XyzSpec
from e3frame.data.units import ENERGY, LENGTH, PRESSURE
from e3frame.spec.errors import DataError


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return SampleSpec(cache_dir=str(tmp_path_factory.mktemp("sample"))).load(4.0, LABELS)


@pytest.fixture(scope="module")
def graphs(splits: Splits) -> list[Graph]:
    """Two hundred frames that do not follow each other."""
    return [splits.train[k] for k in range(0, 1800, 9)]


def changed(graphs: list[Graph], **factors: float) -> list[Graph]:
    copies = [graph.clone() for graph in graphs]
    for graph in copies:
        for key, factor in factors.items():
            graph[key] = graph[key] * factor
    return copies


def test_sound_data_pass(splits: Splits) -> None:
    findings = look(splits, Asked(LABELS, "energy", "forces"))
    assert {finding.level for finding in findings} == {"ok"}
    require_sound(findings)


def test_a_gradient_in_place_of_the_force(graphs: list[Graph]) -> None:
    found = check_gradient(changed(graphs, forces=-1.0))
    assert found.level == "error"
    assert found.text.startswith("the forces are the gradient of the energy, not its negative (slope -")
    with pytest.raises(DataError, match=r"(?s)not its negative.*data.preflight=warn trains all the same"):
        require_sound([found])


KCAL, HARTREE, ATOMIC = ENERGY["kcal/mol"], ENERGY["Hartree"], ENERGY["Hartree"] / LENGTH["bohr"]
UNITS = {
    "energies are in kcal/mol and forces in eV/Å": (1 / KCAL, 1.0),
    "energies are in eV and forces in kcal/mol/Å": (1.0, 1 / KCAL),
    "energies are in Hartree and forces in eV/Å": (1 / HARTREE, 1.0),
    "energies are in eV and forces in Hartree/bohr": (1.0, 1 / ATOMIC),
    "energies are in kcal/mol and forces in Hartree/bohr": (1 / KCAL, 1 / ATOMIC),
}


@pytest.mark.parametrize("mistake", UNITS)
def test_units_that_do_not_fit(mistake: str, graphs: list[Graph]) -> None:
    energy, forces = UNITS[mistake]
    found = check_gradient(changed(graphs, energy=energy, forces=forces))
    assert found.level == "error"
    assert found.text.startswith("the forces do not fit the energy: a factor of ")
    assert mistake in found.hint


def test_units_that_fit_are_let_pass(graphs: list[Graph]) -> None:
    assert check_gradient(changed(graphs, energy=1 / KCAL, forces=1 / KCAL)).level == "ok"
    assert check_gradient(graphs[:5]).level == "note"
    unrelated = changed(graphs)
    values = np.random.default_rng(0).normal(size=len(unrelated))
    for graph, value in zip(unrelated, values, strict=True):
        graph.energy = torch.tensor([value])
    assert check_gradient(unrelated).level == "note"


@pytest.mark.parametrize("name", ["dipole", "polarizability"])
def test_a_tensor_of_another_orientation(name: str, graphs: list[Graph]) -> None:
    assert check_frame(graphs, name).level == "ok"
    rng, turned = np.random.default_rng(0), changed(graphs)
    for graph in turned:
        q = torch.from_numpy(np.linalg.qr(rng.normal(size=(3, 3)))[0])
        graph[name] = graph[name] @ q.T if name == "dipole" else q @ graph[name] @ q.T
    found = check_frame(turned, name)
    assert found.level == {"dipole": "warning", "polarizability": "error"}[name]
    assert "turn with the molecule: directions of bonds explain" in found.text
    assert check_frame(graphs[:20], name) is None


@pytest.fixture(scope="module")
def metal(tmp_path_factory: pytest.TempPathFactory) -> list[Graph]:
    """Sheared and shaken copper and gold with a stress of the effective medium theory; each atom sees its images."""
    rng, made = np.random.default_rng(0), []
    for k in range(80):
        atoms = bulk("Cu" if k % 2 else "Au", cubic=True)
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.positions += 0.08 * rng.normal(size=(4, 3))
        atoms.calc = EMT()
        atoms.get_stress(), atoms.get_forces()
        made.append(atoms)
    path = tmp_path_factory.mktemp("metal") / "a.traj"
    write(path, made)
    labels = {"forces": Label("node", (3,)), "stress": Label("graph", (3, 3))}
    spec = XyzSpec(path=str(path), keys={"forces": "forces", "stress": "stress"}, split={"val": 0, "test": 0})
    train = spec.model_copy(update={"cache_dir": str(path.parent)}).load(5.0, labels).train
    return list(train)


def test_stress(metal: list[Graph]) -> None:
    def text(found: Finding) -> str:
        return f"{found.level}: {found.text} {found.hint}"

    assert text(check_stress(metal)).startswith("ok: sign, unit and order fit the forces")
    assert text(check_stress(changed(metal, stress=-1.0))).startswith("error: its sign is turned")
    gigapascal = text(check_stress(changed(metal, stress=1 / PRESSURE["GPa"])))
    assert gigapascal.startswith("error: it does not fit the forces: a factor of ")
    assert gigapascal.endswith("it looks as if it were in GPa: data.units.stress")
    shuffled = changed(metal)
    for graph in shuffled:
        s = graph.stress.clone()
        for (i, j), (a, b) in {(1, 2): (0, 1), (0, 2): (1, 2), (0, 1): (0, 2)}.items():
            graph.stress[:, i, j] = graph.stress[:, j, i] = s[:, a, b]
    said = text(check_stress(shuffled))
    assert said.startswith("error: its components are in the order xx, yy, zz, xy, yz, xz (VASP)")


def test_frames_in_two_splits(splits: Splits) -> None:
    assert check_duplicates(splits).level == "ok"
    twins = [splits.val[k] for k in range(20)]
    q = torch.from_numpy(np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0])
    for k in range(3):
        twins[k] = splits.train[k].clone()
        twins[k].pos = twins[k].pos @ q.T + (0.002 * torch.randn(twins[k].pos.shape) if k == 2 else 0.0)
    found = check_duplicates(Splits(splits.train, GraphDataset.from_graphs(twins, splits.val.files), None))
    assert found.level == "warning"
    assert "3 of 20 val frames are in training too (2 identical, 1 nearly identical)" in found.text


def test_outliers_and_mixed_periodicity_are_told(splits: Splits) -> None:
    copies = [splits.train[k].clone() for k in range(100)]
    copies[7].energy = copies[7].energy + 500.0
    copies[8].pbc = torch.tensor([[True, True, True]])
    dataset = GraphDataset.from_graphs(copies)
    findings = look(Splits(dataset, None, None), Asked({"energy": LABELS["energy"]}, species=("H", "C")))
    said = {finding.check: (finding.level, finding.text) for finding in findings}
    assert said["periodicity"] == ("warning", "99 frames FFF, 1 frames TTT (mixed)")
    assert said["elements"] == ("error", "the model does not know O")
    assert said["energy"][0] == "warning"
    assert said["energy"][1].startswith("1 of 100 frames are outliers")


def test_check_looks_at_files(
    tmp_path: Path, frames: Callable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write("a.xyz", frames(30), format="extxyz")
    given = ["check", "data=xyz", "data.path=a.xyz", "model.r_max=4"]
    assert main(given) == 0
    out = capsys.readouterr().out
    assert "labels of the training frames" in out
    assert "frames in two splits" in out
    assert out.endswith("looked at 24 train, 3 val, 3 test frames; --full looks at all\n")
    assert main([*given, "--no-data"]) == 0
    assert "labels" not in capsys.readouterr().out
    write("a.xyz", frames(5), format="extxyz")
    assert main([*given, "data.keys.forces=F"]) == 1
    assert "no key 'F' for the label forces" in capsys.readouterr().err

"""What is said of data before training: each mistake in known data is found and named, and the data themselves pass."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from support.sample import changed

from e3frame.data.pipeline.dataset import Splits
from e3frame.data.pipeline.graphs import Graph, make_graph
from e3frame.data.pipeline.loader import load
from e3frame.data.sources.base import Label
from e3frame.data.sources.sample import LABELS
from e3frame.data.sources.xyz import XyzSpec
from e3frame.preflight.checks import Requirements, check_data, require_sound
from e3frame.preflight.findings import Finding
from e3frame.preflight.gradient import check_belonging, check_gradient
from e3frame.preflight.stress import check_stress
from e3frame.preflight.tensors import check_frame
from e3frame.spec.errors import DataError
from e3frame.spec.units import ENERGY, LENGTH, PRESSURE


def test_sound_data_pass(splits: Splits) -> None:
    findings = check_data(splits, Requirements(LABELS, "energy", "forces"))
    assert {finding.level for finding in findings} == {"ok"}
    require_sound(findings)


def test_a_gradient_in_place_of_the_force(graphs: list[Graph]) -> None:
    found = check_gradient(changed(graphs, forces=-1.0))
    assert found.level == "error"
    assert found.text.startswith("the forces are the gradient of the energy, not its negative (slope -")
    with pytest.raises(DataError, match=r"(?s)not its negative.*set data.preflight=warn to train anyway"):
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
    assert found.text.startswith("the forces do not fit the energy: they differ by a factor of ")
    assert mistake in found.hint


def test_units_that_fit_are_let_pass(graphs: list[Graph]) -> None:
    """Those of a common wrong unit, too: its size tells it, in test_preflight_sizes.py."""
    assert check_gradient(changed(graphs, energy=1 / KCAL, forces=1 / KCAL)).level == "ok"
    assert check_gradient(graphs[:5]).level == "note"
    unrelated = changed(graphs)
    values = np.random.default_rng(0).normal(size=len(unrelated))
    for graph, value in zip(unrelated, values, strict=True):
        graph.energy = torch.tensor([value])
    found = check_gradient(unrelated)
    assert found.level == "warning"
    assert found.text.startswith("between similar frames, the energy does not change as the forces predict")


def _shuffled_atoms(graphs: list[Graph], rng: np.random.Generator) -> None:
    for graph in graphs:
        graph.forces = graph.forces[rng.permutation(graph.num_nodes)]


def _of_other_frames(graphs: list[Graph], rng: np.random.Generator) -> None:
    kinds = [graph.z.tolist() for graph in graphs]
    order = {k: [j for j, kind in enumerate(kinds) if kind == kinds[k]] for k in range(len(graphs))}
    forces = [graphs[rng.choice(order[k])].forces for k in range(len(graphs))]
    for graph, other in zip(graphs, forces, strict=True):
        graph.forces = other


def _other_axes(graphs: list[Graph], rng: np.random.Generator) -> None:
    for graph in graphs:
        graph.forces = graph.forces[:, [1, 2, 0]]


@pytest.mark.parametrize("shuffle", [_shuffled_atoms, _of_other_frames, _other_axes])
def test_forces_that_have_nothing_to_do_with_the_positions(shuffle: Callable, graphs: list[Graph]) -> None:
    sound = check_belonging(graphs)
    assert sound.level == "ok"
    assert sound.text == "a pair potential explains 80% of the forces"
    copies = changed(graphs)
    shuffle(copies, np.random.default_rng(0))
    found = check_belonging(copies)
    assert found.level == "error"
    assert re.fullmatch(
        "the forces do not fit the positions: a pair potential explains [0-4]% of the forces, as in shuffled data",
        found.text,
    )
    assert check_belonging(changed(copies, forces=0.001)).level == "warning"  # what a relaxation may leave
    assert check_belonging(graphs[:5]) is None


@pytest.mark.parametrize("name", ["dipole", "polarizability"])
def test_a_tensor_of_another_orientation(name: str, graphs: list[Graph]) -> None:
    assert check_frame(graphs, name).level == "ok"
    rng, turned = np.random.default_rng(0), changed(graphs)
    for graph in turned:
        q = torch.from_numpy(np.linalg.qr(rng.normal(size=(3, 3)))[0])
        graph[name] = graph[name] @ q.T if name == "dipole" else q @ graph[name] @ q.T
    found = check_frame(turned, name)
    assert found.level == {"dipole": "warning", "polarizability": "error"}[name]
    assert "rotate with the molecule: directions of bonds explain" in found.text
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
    train = load(spec.model_copy(update={"cache_dir": str(path.parent)}), 5.0, labels).train
    return list(train)


def test_stress(metal: list[Graph]) -> None:
    def text(found: Finding) -> str:
        return f"{found.level}: {found.text} {found.hint}"

    assert text(check_stress(metal)).startswith("ok: sign, unit and order fit the forces")
    assert text(check_stress(changed(metal, stress=-1.0))).startswith("error: its sign is inverted")
    gigapascal = text(check_stress(changed(metal, stress=1 / PRESSURE["GPa"])))
    assert gigapascal.startswith("error: it does not fit the forces: it differs by a factor of ")
    assert gigapascal.endswith("it looks as if it were in GPa: check data.units.stress")
    shuffled = changed(metal)
    for graph in shuffled:
        s = graph.stress.clone()
        for (i, j), (a, b) in {(1, 2): (0, 1), (0, 2): (1, 2), (0, 1): (0, 2)}.items():
            graph.stress[:, i, j] = graph.stress[:, j, i] = s[:, a, b]
    said = text(check_stress(shuffled))
    assert said.startswith("error: its components are in the order xx, yy, zz, xy, yz, xz (VASP)")


STRESSES = {
    "good": (1.0, "ok: sign, unit and order fit the energies of strained cells"),
    "sign": (-1.0, "error: its sign is inverted: it must be positive where stretching raises the energy"),
    "GPa": (1 / PRESSURE["GPa"], "error: it does not fit the energies of strained cells: it differs by a factor of 1"),
    "kbar": (
        1 / PRESSURE["kbar"],
        "error: it does not fit the energies of strained cells: it differs by a factor of 1",
    ),
}


@pytest.fixture(scope="module")
def strained() -> list[Graph]:
    """Cells of copper that differ by small strains; the atoms, at rest, have no forces."""
    rng, made = np.random.default_rng(0), []
    for _ in range(80):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.015 * symmetric(rng)), scale_atoms=True)
        atoms.calc = EMT()
        labels = {"energy": [atoms.get_potential_energy()], "stress": atoms.get_stress(voigt=False)[None]}
        made.append(make_graph(atoms, 5.0, labels))
    return made


def symmetric(rng: np.random.Generator) -> np.ndarray:
    matrix = rng.normal(size=(3, 3))
    return (matrix + matrix.T) / 2


@pytest.mark.parametrize("case", STRESSES)
def test_a_stress_without_forces(case: str, strained: list[Graph]) -> None:
    factor, said = STRESSES[case]
    found = check_stress(changed(strained, stress=factor), None, energy="energy")
    assert f"{found.level}: {found.text}".startswith(said)
    if case in PRESSURE:
        assert found.hint == f"it looks as if it were in {case}: check data.units.stress"


def test_the_order_of_a_stress_without_forces(strained: list[Graph]) -> None:
    shuffled = changed(strained)
    for graph in shuffled:
        s = graph.stress.clone()
        for (i, j), (a, b) in {(1, 2): (0, 1), (0, 2): (0, 2), (0, 1): (1, 2)}.items():
            graph.stress[:, i, j] = graph.stress[:, j, i] = s[:, a, b]
    found = check_stress(shuffled, None, energy="energy")
    assert found.level == "error"
    assert found.text.startswith("its components are in the order xx, yy, zz, xy, xz, yz (LAMMPS), not in ASE's")


def test_a_stress_by_the_volume_alone(strained: list[Graph]) -> None:
    found = check_stress(strained, None)
    assert found.level == "ok"
    assert re.fullmatch(
        r"its sign fits the volumes \(bulk modulus 1[0-4]\d GPa\); the order of its components was not checked",
        found.text,
    )
    assert check_stress(changed(strained, stress=-1.0), None).text.startswith(
        "its sign is inverted: it decreases with t"
    )
    found = check_stress(changed(strained, stress=1 / PRESSURE["GPa"]), None)
    assert found.level == "error"
    assert found.hint == "it looks as if it were in GPa or kbar: check data.units.stress"
    assert check_stress(strained[:5], None).text == "too few periodic frames of one kind to judge it"

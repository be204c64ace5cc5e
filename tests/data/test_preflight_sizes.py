"""What is said of energies, forces and positions that fit each other, but are all in a wrong unit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import write
from support.sample import changed
from support.springs import springs

from e3frame.cli import main
from e3frame.data.pipeline.dataset import GraphDataset, Splits
from e3frame.data.pipeline.graphs import Graph, make_graph
from e3frame.data.sources.sample import LABELS
from e3frame.preflight.checks import Requirements, check_data
from e3frame.preflight.findings import Finding
from e3frame.preflight.gradient import check_gradient
from e3frame.preflight.plausible import check_forces, check_lengths, check_totals
from e3frame.spec.units import ENERGY, LENGTH

HARTREE = ENERGY["Hartree"]
SIZES = ("size of the energy", "size of the forces", "size of the molecules")


def graphs_of(frames: list[Atoms]) -> list[Graph]:
    labels = [
        {"energy": np.array([atoms.get_potential_energy()]), "forces": atoms.get_forces().copy()} for atoms in frames
    ]
    return [make_graph(atoms, 4.0, label) for atoms, label in zip(frames, labels, strict=True)]


@pytest.fixture(scope="module")
def totals() -> list[Graph]:
    """With the energies of all electrons."""
    return graphs_of([*springs("CH3OH", 40), *springs("CH3CONH2", 40), *springs("CH3CN", 40)])


@pytest.mark.parametrize(
    ("unit", "named"),
    [
        ("kcal/mol", "kcal/mol/Å"), ("kJ/mol", "kJ/mol/Å"), ("meV", "meV/Å"), ("Hartree", "Hartree/Å, or Ry/bohr"),
        ("Ry", "Ry/Å"),
    ],
)  # fmt: skip
def test_energies_and_forces_of_another_unit(unit: str, named: str, graphs: list[Graph], totals: list[Graph]) -> None:
    """They fit each other, and are told by their size: forces by bonds to hydrogen, energies by those of all atoms."""
    factor = 1 / ENERGY[unit]
    for sound in (graphs, totals):
        held = changed(sound, energy=factor, forces=factor)
        assert check_gradient(held).level == "ok"
        found = check_forces(held)
        assert found.level == "warning"
        assert found.text.startswith("the forces make X-H bonds ")
        told = found.hint.removeprefix("the file seems to have them in ").removesuffix(": check data.units")
        assert sorted(told.split(", or ")) == sorted(named.split(", or "))
        # declared so, but not so in the file
        assert "seems to have them in eV/Å" in check_forces(changed(sound, forces=1 / factor), factor=1 / factor).hint
        assert check_forces(sound, factor=1 / factor) is None
    found = check_totals(GraphDataset.from_graphs(changed(totals, energy=factor)), "energy")
    assert (found is None) == (unit == "Ry")
    if found is not None:
        assert found.hint == f"it looks as if it were in {unit}: set data.units.energy={unit}"


def test_the_message(totals: list[Graph]) -> None:
    held = changed(totals, energy=1 / HARTREE, forces=LENGTH["bohr"] / HARTREE)
    assert check_totals(GraphDataset.from_graphs(held), "energy") == Finding(
        "size of the energy",
        "warning",
        "it is about -132.64 eV, but the all-electron energy of the free atoms is -3585.9 eV",
        "it looks as if it were in Hartree: set data.units.energy=Hartree",
    )
    found = check_forces(held)
    assert found.check == "size of the forces"
    assert found.hint == "the file seems to have them in Hartree/bohr: check data.units"
    declared = check_totals(GraphDataset.from_graphs(changed(totals, energy=HARTREE)), "energy", HARTREE)
    assert declared.hint == "it looks as if it were in eV: set data.units.energy=eV"
    assert check_totals(GraphDataset.from_graphs(totals), "energy", HARTREE) is None


def test_all_of_the_wrong_sign(graphs: list[Graph], totals: list[Graph]) -> None:
    for sound in (graphs, totals):
        held = changed(sound, energy=-1.0, forces=-1.0)
        assert check_gradient(held).level == "ok"
        assert check_forces(held) == Finding(
            "size of the forces",
            "warning",
            "the forces push stretched X-H bonds further apart: their sign looks inverted",
            "flip the sign of the forces in the file (multiply by -1); check the energies, too",
        )
    found = check_totals(GraphDataset.from_graphs(changed(totals, energy=-1.0)), "energy")
    assert found.hint == "flip the sign of the energy in the file (multiply by -1); check the forces, too"


def metals() -> list[Graph]:
    rng, made = np.random.default_rng(0), []
    for k in range(40):
        atoms = bulk(("Al", "Cu", "Ni")[k % 3], cubic=True)
        atoms.positions += 0.08 * rng.normal(size=atoms.positions.shape)
        atoms.calc = EMT()
        made.append(atoms)
    return graphs_of(made)


def relaxed() -> list[Graph]:
    """What a relaxation left of the forces may still be of the sign of a spring, and of any stiffness."""
    held = graphs_of([atoms for name in ("CH3OH", "C2H6", "CH3CN", "C6H6") for atoms in springs(name, 20)])
    rng = np.random.default_rng(0)
    for graph in held:
        noise = graph.forces.new_tensor(0.06 * rng.normal(size=graph.forces.shape))
        graph.forces = graph.forces * LENGTH["bohr"] / HARTREE + noise
    return held


def hydride() -> list[Graph]:
    """Hydrogen that has no molecule."""
    rng, made = np.random.default_rng(0), []
    for _ in range(40):
        atoms = bulk("LiH", "rocksalt", a=4.08, cubic=True)
        atoms.positions += 0.05 * rng.normal(size=atoms.positions.shape)
        made.append(make_graph(atoms, 4.0, {"energy": np.array([-24.0]), "forces": rng.normal(size=(8, 3))}))
    return made


SOUND: dict[str, Callable[[], list[Graph]]] = {"metals": metals, "relaxed": relaxed, "hydride": hydride}


@pytest.mark.parametrize("kind", SOUND)
def test_no_false_alarm(kind: str) -> None:
    held = SOUND[kind]()
    assert check_lengths(held) is check_forces(held) is None
    assert check_totals(GraphDataset.from_graphs(held), "energy") is None


@pytest.mark.parametrize("shift", [0.0, 0.9, 0.99])
def test_energies_without_those_of_the_atoms(shift: float, totals: list[Graph]) -> None:
    """Or with those of valence electrons alone: nothing is said."""
    held = changed(totals)
    for graph in held:
        free = sum({1: -13.6, 6: -1030.0, 7: -1485.0, 8: -2042.0}[z] for z in graph.z.tolist())
        graph.energy = graph.energy - shift * free
    assert check_totals(GraphDataset.from_graphs(held), "energy") is None


def test_forces_of_metals_in_kcal_per_mol() -> None:
    """Where no hydrogen tells: more than matter can have."""
    found = check_forces(changed(metals(), forces=1 / ENERGY["kJ/mol"]))
    assert found.level == "warning"
    assert found.hint == "the file seems to have them in kcal/mol/Å or kJ/mol/Å: check data.units"
    assert check_forces(changed(metals(), forces=1e3)).hint.endswith("in meV/Å: check data.units")


def test_positions_in_bohr() -> None:
    held = springs("CH3OH", 20)
    for atoms in held:
        atoms.positions /= LENGTH["bohr"]
    found = check_lengths([make_graph(atoms, 4.0) for atoms in held])
    assert found.text.startswith("the distance from hydrogen to the nearest atom is 1.99 Å; ")
    assert found.hint == "it looks as if lengths were in bohr: set data.units.length=bohr"
    for atoms in held:
        atoms.positions *= 2.0
    assert check_lengths([make_graph(atoms, 9.0) for atoms in held]).hint == "check data.units.length"
    assert check_lengths([make_graph(molecule("SiH4"), 4.0)] * 20) is None


def test_a_split_of_another_unit(splits: Splits, graphs: list[Graph]) -> None:
    """Files of their own can be wrong alone: that is a warning, and once for what all have."""
    test = [splits.test[k].clone() for k in range(0, 400, 4)]
    kcal = GraphDataset.from_graphs(changed(test, forces=1 / ENERGY["kcal/mol"], energy=1 / ENERGY["kcal/mol"]))
    asked = Requirements(LABELS, "energy", "forces")
    findings = check_data(Splits(splits.train, None, kcal), asked)
    assert [(found.check, found.level) for found in findings if found.level != "ok"] == [
        ("size of the forces, test", "warning")
    ]
    train = GraphDataset.from_graphs(changed(graphs, forces=1 / ENERGY["kcal/mol"], energy=1 / ENERGY["kcal/mol"]))
    findings = check_data(Splits(train, None, kcal), asked)
    assert [found.check for found in findings if found.level != "ok"] == ["size of the forces"]
    turned = GraphDataset.from_graphs(changed(test, forces=-1.0, polarizability=-1.0))
    findings = check_data(Splits(splits.train, None, turned), asked)
    assert [(found.check, found.level) for found in findings if found.level != "ok"] == [
        ("size of the forces, test", "warning"), ("forces against energy, test", "warning")
    ]  # fmt: skip


def test_check_names_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And goes by the unit that is declared."""
    monkeypatch.chdir(tmp_path)
    made = springs("CH3OH", 60)
    for atoms in made:
        atoms.calc.results["energy"] /= ENERGY["kcal/mol"]
        atoms.calc.results["forces"] = atoms.calc.results["forces"] / ENERGY["kcal/mol"]
    write("kcal.xyz", made)
    given = ["check", "model=nequip_small", "data=xyz", "data.path=kcal.xyz"]
    assert main(given) == 0
    out = " ".join(capsys.readouterr().out.split())
    told = (
        r"warning size of the energy it is about -726\d\d eV, but the all-electron energy of the free atoms is "
        r"-3127\.1 eV"
    )
    assert re.search(told, out)
    assert "the file seems to have them in kcal/mol/Å: check data.units" in out
    assert main([*given, "data.units.energy=kcal/mol"]) == 0
    assert "size of the" not in capsys.readouterr().out
    assert main([*given, "data.units.energy=kJ/mol"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "it looks as if it were in kcal/mol: set data.units.energy=kcal/mol" in out
    assert all(name not in out for name in SIZES[2:])

"""Reading files: keys, places, units, periodicity, splits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from e3frame.data.pipeline.loader import load, prepare, recipe_of
from e3frame.data.sources.base import Label
from e3frame.data.sources.xyz import XyzSpec
from e3frame.spec.errors import DataError
from e3frame.spec.units import DIPOLE as DIPOLE_UNITS
from e3frame.spec.units import ENERGY, FORCE, LENGTH

LABELS = {"energy": Label("graph"), "forces": Label("node", (3,))}
MakeFrames = Callable[..., list[Atoms]]


def spec(path: Path | str, **options: object) -> XyzSpec:
    return XyzSpec.model_validate({"path": str(path), **options})


def read(path: Path | str, labels: dict[str, Label] = LABELS, r_max: float = 4.0, **options: object):
    made = spec(path, **options)
    return prepare(made, recipe_of(made, r_max, labels))


@pytest.mark.parametrize("suffix", ["xyz", "traj", "extxyz", "json"])
def test_energies_and_forces_of_several_formats(suffix: str, frames: MakeFrames, tmp_path: Path) -> None:
    made = frames(3)
    write(tmp_path / f"a.{suffix}", made)
    dataset = read(tmp_path / f"a.{suffix}")
    for graph, atoms in zip(dataset, made, strict=True):
        assert graph.z.tolist() == atoms.numbers.tolist()
        torch.testing.assert_close(graph.pos, torch.tensor(atoms.positions), atol=1e-8, rtol=0)
        assert float(graph.energy) == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        torch.testing.assert_close(graph.forces, torch.tensor(atoms.get_forces()), atol=1e-8, rtol=0)
    assert dataset.stacked("frame").tolist() == [0, 1, 2]


def test_labels_outside_the_calculator(frames: MakeFrames, tmp_path: Path) -> None:
    """Under other names ASE leaves them in ``info`` and ``arrays``; they win over results that were not asked for."""
    made = frames(2)
    for k, atoms in enumerate(made):
        atoms.info["REF_energy"] = float(k)
        atoms.arrays["REF_forces"] = np.full((len(atoms), 3), k + 0.5)
    write(tmp_path / "a.xyz", made)
    dataset = read(tmp_path / "a.xyz", keys={"energy": "REF_energy", "forces": "REF_forces"})
    assert dataset.stacked("energy").tolist() == [0.0, 1.0]
    assert dataset[1].forces.unique().tolist() == [1.5]


def test_tensors_written_flat_and_per_atom_numbers(frames: MakeFrames, tmp_path: Path) -> None:
    made = frames(2)
    for atoms in made:
        atoms.info["alpha"] = np.arange(9.0)
        atoms.info["mu"] = [1, 2, 3]
        atoms.arrays["q"] = np.linspace(0, 1, len(atoms))
        atoms.arrays["t"] = np.arange(9.0 * len(atoms)).reshape(-1, 9)
    write(tmp_path / "a.xyz", made)
    labels = {
        "polarizability": Label("graph", (3, 3)), "dipole": Label("graph", (3,)), "charges": Label("node"),
        "column": Label("node", (1,)), "shielding": Label("node", (3, 3)),
    }  # fmt: skip
    keys = {"polarizability": "alpha", "dipole": "mu", "charges": "q", "column": "q", "shielding": "t"}
    graph = read(tmp_path / "a.xyz", labels, keys=keys)[1]
    n = graph.num_nodes
    assert graph.polarizability.tolist() == [np.arange(9.0).reshape(3, 3).tolist()]
    assert graph.dipole.tolist() == [[1.0, 2.0, 3.0]]
    np.testing.assert_allclose(graph.charges, np.linspace(0, 1, n), atol=1e-8)
    assert graph.column.shape == (n, 1)
    assert graph.shielding[1].tolist() == np.arange(9.0, 18.0).reshape(3, 3).tolist()


def test_only_labels_that_are_asked_for_are_read(frames: MakeFrames, tmp_path: Path) -> None:
    made = frames(2)
    for atoms in made:
        atoms.calc = None
    write(tmp_path / "a.xyz", made)
    dataset = read(tmp_path / "a.xyz", {})
    assert not dataset.has("energy")
    assert len(dataset) == 2


def test_a_lattice_without_periodicity_is_not_periodic(tmp_path: Path) -> None:
    """The box that some programs draw around a molecule must not give it images."""
    head = '2\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3 energy=0 pbc="{}"\n'
    rows = "H 0 0 0\nH 0 0 1\n"
    edges = {}
    for pbc in ("F F F", "T T T", "F F T"):
        (tmp_path / "a.xyz").write_text(head.format(pbc) + rows)
        graph = read(tmp_path / "a.xyz", {"energy": LABELS["energy"]}, r_max=2.5)[0]
        edges[pbc] = graph.edge_index.shape[1]
        assert graph.pbc.tolist() == [[sign == "T" for sign in pbc.split()]]
        assert graph.cell.tolist() == [np.diag([3.0] * 3).tolist()]
    assert edges == {"F F F": 2, "F F T": 4, "T T T": 4}


@pytest.mark.parametrize("energy", ENERGY)
@pytest.mark.parametrize("length", LENGTH)
def test_units(energy: str, length: str, frames: MakeFrames, tmp_path: Path) -> None:
    made = frames(2)
    reference = [(atoms.positions.copy(), atoms.get_potential_energy(), atoms.get_forces()) for atoms in made]
    for atoms, (positions, value, forces) in zip(made, reference, strict=True):
        atoms.set_cell(np.eye(3) * 9.0 / LENGTH[length])
        atoms.pbc = True
        atoms.positions = positions / LENGTH[length]
        atoms.calc = SinglePointCalculator(
            atoms, energy=value / ENERGY[energy], forces=forces / ENERGY[energy] * LENGTH[length]
        )
    write(tmp_path / "a.traj", made)
    dataset = read(tmp_path / "a.traj", units={"energy": energy, "length": length})
    for graph, (positions, value, forces) in zip(dataset, reference, strict=True):
        np.testing.assert_allclose(graph.pos, positions, atol=1e-12)
        np.testing.assert_allclose(graph.cell[0], 9.0 * np.eye(3), atol=1e-12)
        np.testing.assert_allclose(graph.energy[0], value, rtol=1e-12)
        np.testing.assert_allclose(graph.forces, forces, rtol=1e-12)


DIPOLE, ALPHA = Label("graph", (3,)), Label("graph", (3, 3))


def test_units_of_labels(frames: MakeFrames, tmp_path: Path) -> None:
    """Each has its own, whatever the units of energies and lengths; also under other names."""
    made = frames(2)
    value, forces = made[0].get_potential_energy(), made[0].get_forces()
    for atoms in made:
        atoms.cell, atoms.pbc = 9.0 * np.eye(3), True
        atoms.calc = SinglePointCalculator(atoms, energy=value, forces=forces)
        atoms.info |= {"mu": np.array([1.85, 0.0, -1.0]), "alpha": 10.0 * np.eye(3), "V": 5.0 * np.eye(3)}
    write(tmp_path / "a.xyz", made, format="extxyz")
    keys = {"energy": "energy", "forces": "forces", "dipole": "mu", "polarizability": "alpha", "virial": "V"}
    units = {"energy": "Ha", "forces": "Ha/Bohr", "dipole": "Debye", "polarizability": "a0^3", "virial": "kJ/mol"}
    labels = LABELS | {"dipole": DIPOLE, "polarizability": ALPHA, "stress": ALPHA}
    (graph, _) = read(tmp_path / "a.xyz", labels, keys=keys, units=units)
    bohr, hartree = LENGTH["bohr"], ENERGY["Hartree"]
    np.testing.assert_allclose(graph.pos, made[0].positions, atol=1e-8)
    np.testing.assert_allclose(graph.energy, [value * hartree], rtol=1e-8)
    np.testing.assert_allclose(graph.forces, forces * hartree / bohr, rtol=1e-7, atol=1e-6)
    np.testing.assert_allclose(graph.dipole, [[1.85 * 0.20819434, 0.0, -0.20819434]], rtol=1e-7)
    np.testing.assert_allclose(graph.polarizability[0], 10.0 * bohr**3 * np.eye(3), rtol=1e-12)
    np.testing.assert_allclose(graph.stress[0], -5.0 * ENERGY["kJ/mol"] / 9.0**3 * np.eye(3), rtol=1e-12)
    (graph, _) = read(tmp_path / "a.xyz", {"dipole": DIPOLE}, keys=keys, units={"length": "bohr"})
    np.testing.assert_allclose(graph.dipole, [[1.85 * bohr, 0.0, -bohr]], rtol=1e-12)


def test_unit_table_agrees_with_ase() -> None:
    from ase import units

    assert DIPOLE_UNITS["D"] == pytest.approx(units.Debye, rel=1e-7)
    assert FORCE["Hartree/bohr"] == pytest.approx(units.Hartree / units.Bohr, rel=1e-7)

    mole = {"kcal/mol": units.kcal / units.mol, "kJ/mol": units.kJ / units.mol}
    theirs = {"Hartree": units.Hartree, "Ry": units.Rydberg, **mole}
    for name, value in theirs.items():
        assert ENERGY[name] == pytest.approx(value, rel=1e-7)
    assert LENGTH["bohr"] == pytest.approx(units.Bohr, rel=1e-7)


def test_single_atoms_are_frames_too(frames: MakeFrames, tmp_path: Path) -> None:
    """Isolated atoms give reference energies."""
    atom = Atoms("C")
    atom.calc = SinglePointCalculator(atom, energy=-37.0, forces=np.zeros((1, 3)))
    write(tmp_path / "a.xyz", [*frames(2), atom])
    dataset = read(tmp_path / "a.xyz")
    assert dataset.counts("edge_index").tolist() == [30, 30, 0]
    assert dataset[2].edge_index.shape == (2, 0)


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ({}, (range(8), [8], [9])),
        ({"train": 5}, (range(5), [6], [8])),
        ({"train": 4, "val": 2, "test": 2}, (range(4), [5, 6], [8, 9])),
        ({"train": 0.5, "val": 0.2, "test": "rest"}, (range(5), [5, 6], [7, 8, 9])),
        ({"train": 2, "val": "rest", "test": 0}, (range(2), range(2, 10), None)),
        ({"train": "rest", "val": 0, "test": 0}, (range(10), None, None)),
        ({"train": None, "val": 0.1, "test": 0.3}, (range(6), [6], [7, 8, 9])),
    ],
)
def test_split_in_time(split: dict, expected: tuple, xyz: Path) -> None:
    splits = load(spec(xyz, split=split), 4.0, LABELS)
    for dataset, frames_ in zip((splits.train, splits.val, splits.test), expected, strict=True):
        assert (None if dataset is None else dataset.stacked("frame").tolist()) == (frames_ and list(frames_))


def test_split_at_random(xyz: Path) -> None:
    def chosen(seed: int) -> list[list[int]]:
        splits = load(spec(xyz, split={"method": "random", "seed": seed, "train": 6, "val": 2, "test": 2}), 4.0, LABELS)
        return [dataset.stacked("frame").tolist() for _, dataset in splits.items()]

    assert chosen(0) == chosen(0) != chosen(1)
    assert sorted(k for part in chosen(0) for k in part) == list(range(10))


def test_files_of_their_own(frames: MakeFrames, xyz: Path) -> None:
    write(xyz.with_name("test.xyz"), frames(4, seed=1))
    write(xyz.with_name("val.xyz"), frames(3, seed=2))
    both = spec(xyz, val_path=str(xyz.with_name("val.xyz")), test_path=[str(xyz.with_name("test.xyz"))])
    assert [len(dataset) for _, dataset in load(both, 4.0, LABELS).items()] == [10, 3, 4]
    one = load(spec(xyz, test_path=str(xyz.with_name("test.xyz")), split={"train": 6, "val": 2}), 4.0, LABELS)
    assert [dataset.stacked("frame").tolist() for _, dataset in one.items()] == [[*range(6)], [8, 9], [*range(4)]]


def test_an_unseen_element_in_a_file_of_its_own(frames: MakeFrames, xyz: Path) -> None:
    path = xyz.with_name("test.xyz")
    write(path, [*frames(2), *frames(1, "CH3SH"), *frames(1, "CH3Cl")])
    with pytest.raises(DataError) as caught:
        load(spec(xyz, test_path=str(path)), 4.0, LABELS)
    assert (
        str(caught.value)
        == f"{path}, frame 2\n  the test frames have S, which no training frame has\n  training frames have H, C, O"
    )


def test_several_files_and_patterns(frames: MakeFrames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k, name in enumerate(("b", "a", "c")):
        write(tmp_path / f"{name}.xyz", frames(k + 1, seed=k))
    monkeypatch.chdir(tmp_path)
    dataset = read("[ab].xyz")
    assert dataset.files == ("a.xyz", "b.xyz")
    assert [dataset.where(k) for k in range(3)] == [("a.xyz", 0), ("a.xyz", 1), ("b.xyz", 0)]
    made = XyzSpec(path=("c.xyz", "b.xyz"))
    assert prepare(made, recipe_of(made, 4.0, LABELS)).stacked("file").tolist() == [0, 0, 0, 1]


def test_a_label_that_is_not_declared(xyz: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(spec(xyz), 4.0, {"dipole": Label("graph", (3,))})
    assert str(caught.value) == "  the data have no label dipole\n  declared: energy, forces"

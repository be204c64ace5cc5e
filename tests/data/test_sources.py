"""Databases, arrays, trajectories and QM9, each from small files in the raw format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from support.qm9 import METHANE

from e3frame.data.formats import qm9_files
from e3frame.data.pipeline.loader import load
from e3frame.data.sources.base import Label, parse_data
from e3frame.data.sources.md17 import CCSD, FORMULAS
from e3frame.spec.errors import DataError
from e3frame.spec.units import ENERGY, LENGTH

LABELS = {"energy": Label("graph"), "forces": Label("node", (3,))}
KCAL = ENERGY["kcal/mol"]


def loaded(r_max: float = 4.0, labels: dict[str, Label] = LABELS, **raw: object):
    return load(parse_data(raw), r_max, labels)


def says(message: str, **raw: object) -> None:
    with pytest.raises(DataError) as caught:
        loaded(**raw)
    assert str(caught.value) == message


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """Thirty distorted ethanols in MD17's names."""
    rng = np.random.default_rng(0)
    ethanol = molecule("CH3CH2OH")
    return {
        "z": ethanol.numbers.astype(np.uint8),
        "R": ethanol.positions + 0.05 * rng.normal(size=(30, 9, 3)),
        "E": rng.normal(size=(30, 1)) - 97_000,
        "F": rng.normal(size=(30, 9, 3)),
    }


def test_npz(arrays: dict, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    splits = loaded(kind="npz", path=str(path), units={"energy": "kcal/mol"}, split={"val": 5, "test": 5})
    assert [len(d) for _, d in splits.items()] == [20, 5, 5]
    graph = splits.val[1]
    frame = int(graph.frame)
    np.testing.assert_array_equal(graph.pos, arrays["R"][frame])
    np.testing.assert_allclose(graph.energy, arrays["E"][frame] * KCAL, rtol=1e-15)
    np.testing.assert_allclose(graph.forces, arrays["F"][frame] * KCAL, rtol=1e-15)


def test_npz_of_molecules_that_differ_in_size(tmp_path: Path) -> None:
    """Rows of no atom are left out, of the structures as of the labels."""
    path = tmp_path / "a.npz"
    z = np.array([[8, 1, 1, 0], [7, 1, 1, 1]])
    R = np.random.default_rng(0).normal(size=(2, 4, 3))
    np.savez(path, numbers=z, pos=R, e=[1.0, 2.0], f=R + 1, cells=np.eye(3) * 9)
    structure = {"positions": "pos", "numbers": "numbers", "cell": "cells"}
    options = {"keys": {"energy": "e", "forces": "f"}, "structure": structure, "split": {"val": 0, "test": 0}}
    train = loaded(5.0, kind="npz", path=str(path), **options).train
    assert [graph.num_nodes for graph in train] == [3, 4]
    assert train[0].pbc.all()
    np.testing.assert_allclose(train[0].forces, R[0, :3] + 1)


NPZ_MISTAKES: dict[str, tuple[dict, str]] = {
    "no key": ({"R": None, "coords": 0.0}, "no array 'R' for the positions (data.structure.positions)\n"
               "  existing arrays: z, E, F, coords"),
    "an integer where an array is needed": ({"E": 3}, "E has shape (), but there are 30 frames"),
    "numbers": ({"z": np.ones(8, int)},
                "z has shape (8,) and type int64, but atomic numbers of 9 atoms are needed"),
    "no such element": ({"z": np.full(9, 119)}, "119 is not an atomic number"),
    "positions": ({"R": np.zeros((30, 27))}, "R has shape (30, 27), but positions must have shape (frames, atoms, 3)"),
    "fewer energies": ({"E": np.zeros(29)}, "E has shape (29,), but there are 30 frames"),
}  # fmt: skip


@pytest.mark.parametrize("case", NPZ_MISTAKES)
def test_npz_mistakes(case: str, arrays: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, message = NPZ_MISTAKES[case]
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", **{key: value for key, value in {**arrays, **changes}.items() if value is not None})
    says(f"a.npz\n  {message}", kind="npz", path="a.npz")


def test_a_truncated_npz(arrays: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", **arrays)
    Path("a.npz").write_bytes(Path("a.npz").read_bytes()[:-200])
    says("a.npz\n  cannot be read as npz: File is not a zip file", kind="npz", path="a.npz")
    np.save("b.npz.npy", arrays["R"])
    Path("b.npz.npy").rename("b.npz")
    says("b.npz\n  contains a single array; a .npz file with several arrays is required", kind="npz", path="b.npz")


def test_ase_db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels may be results, key-value pairs or data; frames are rows by id."""
    monkeypatch.chdir(tmp_path)
    database, rng = connect("a.db"), np.random.default_rng(0)
    for k in range(12):
        atoms = molecule("CH3OH" if k % 3 else "H2O")
        atoms.calc = SinglePointCalculator(atoms, energy=float(k), forces=rng.normal(size=(len(atoms), 3)))
        database.write(atoms, gap=k / 2, data={"charges": np.full(len(atoms), 0.5), "alpha": np.eye(3) * k})
    labels = LABELS | {"gap": Label("graph"), "charges": Label("node"), "alpha": Label("graph", (3, 3))}
    options = {"keys": {name: name for name in labels}, "split": {"val": 2, "test": 2}, "path": "a.db"}
    splits = loaded(labels=labels, kind="ase_db", **options)
    assert splits.test.stacked("energy").tolist() == [10.0, 11.0]
    graph = splits.val[1]
    assert float(graph.gap) == 4.5
    assert graph.alpha.tolist() == [(np.eye(3) * 9).tolist()]
    assert graph.charges.tolist() == [0.5] * graph.num_nodes
    water = loaded(labels=labels, kind="ase_db", select="natoms=3", **{**options, "split": {"val": 1, "test": 1}})
    assert water.train.stacked("energy").tolist() == [0.0, 3.0]
    Path("b.db").write_bytes(Path("a.db").read_bytes()[:100])
    with pytest.raises(DataError, match=r"^b.db\n  cannot be read as an ASE database: "):
        loaded(kind="ase_db", path="b.db")
    Path("c.db").write_text("no database")
    says("c.db\n  is not an SQLite database of ASE\n  for other formats use data=xyz", kind="ase_db", path="c.db")


@pytest.fixture
def raw_rmd17(arrays: dict, tmp_path: Path) -> str:
    """rMD17's archive as it is unpacked: trajectories, and index files of its five splits."""
    for folder in ("npz_data", "splits"):
        (tmp_path / "raw" / "rmd17" / folder).mkdir(parents=True)
    names = {"z": "nuclear_charges", "R": "coords", "E": "energies", "F": "forces"}
    made = {names[key]: value for key, value in arrays.items()} | {"old_energies": np.zeros(30)}
    made["energies"] = made["energies"][:, 0]
    np.savez(tmp_path / "raw" / "rmd17" / "npz_data" / "rmd17_ethanol.npz", **made)
    np.savez(tmp_path / "raw" / "rmd17" / "npz_data" / "rmd17_benzene.npz", **made)
    for fold in range(1, 6):
        order = np.random.default_rng(fold).permutation(30)
        for name, part in (("train", order[:10]), ("test", order[10:20])):
            np.savetxt(tmp_path / "raw" / "rmd17" / "splits" / f"index_{name}_0{fold}.csv", part, fmt="%d")
    return str(tmp_path)


def test_rmd17_and_its_published_splits(arrays: dict, raw_rmd17: str) -> None:
    raw = {"kind": "rmd17", "molecule": "ethanol", "root": raw_rmd17, "split": {"train": 7, "val": 3}}
    for fold in (1, 5):
        splits = loaded(**raw, fold=fold)
        order = np.random.default_rng(fold).permutation(30)
        frames = {name: set(dataset.stacked("frame").tolist()) for name, dataset in splits.items()}
        assert {name: len(found) for name, found in frames.items()} == {"train": 7, "val": 3, "test": 10}
        assert frames["train"] | frames["val"] == set(order[:10].tolist())
        assert frames["test"] == set(order[10:20].tolist())
    graph = splits.test[0]
    np.testing.assert_allclose(graph.energy, arrays["E"][int(graph.frame)] * KCAL, rtol=1e-15)
    assert len(loaded(**raw, fold=None).train) == 7
    assert parse_data(raw).known_species == ("H", "C", "O")


def test_a_raw_file_of_the_wrong_molecule(raw_rmd17: str) -> None:
    file = Path(raw_rmd17) / "raw" / "rmd17" / "npz_data" / "rmd17_benzene.npz"
    message = f"{file}\n  contains C2H6O, but benzene is C6H6\n  this raw file may belong to another data set"
    says(message, kind="rmd17", molecule="benzene", root=raw_rmd17, split={"train": 7, "val": 3})


def test_md17(arrays: dict, tmp_path: Path) -> None:
    folder = tmp_path / "ethanol" / "raw"
    folder.mkdir(parents=True)
    np.savez(folder / "md17_ethanol.npz", **arrays, name="ethanol", theory="unknown")
    raw = {"kind": "md17", "molecule": "ethanol", "root": str(tmp_path)}
    splits = loaded(**raw, split={"train": 5, "val": 2, "test": 3, "method": "random"})
    assert [len(d) for _, d in splits.items()] == [5, 2, 3]
    assert len(set(np.concatenate([d.stacked("frame") for _, d in splits.items()]).tolist())) == 10
    folder = tmp_path / "ethanol CCSD(T)" / "raw"
    folder.mkdir(parents=True)
    for name, part in (("train", slice(20)), ("test", slice(20, 30))):
        cut = {key: arrays[key][part] for key in "REF"}
        np.savez(folder / f"ethanol_ccsd_t-{name}.npz", z=arrays["z"], **cut)
    splits = loaded(**raw, level="ccsd", split={"train": 15, "val": 5, "method": "random"})
    assert [len(d) for _, d in splits.items()] == [15, 5, 10]


def test_every_trajectory_has_a_name_of_torch_geometrics() -> None:
    from torch_geometric.datasets import MD17

    names = {parse_data({"kind": "md17", "molecule": molecule})._name() for molecule in FORMULAS}
    names |= {parse_data({"kind": "md17", "molecule": molecule, "level": "ccsd"})._name() for molecule in CCSD}
    names |= {parse_data({"kind": "rmd17", "molecule": molecule})._name() for molecule in FORMULAS}
    names |= {parse_data({"kind": "md17", "molecule": "benzene", "level": "fhi_aims"})._name()}
    assert names == set(MD17.file_names)


def test_a_download_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(url: str, folder: str, **_: object) -> str:
        Path(folder).mkdir(parents=True)
        (Path(folder) / "half").write_text("half of it")
        raise OSError("no route to host")

    monkeypatch.setattr("torch_geometric.datasets.md17.download_url", no_network)
    monkeypatch.setattr("torch_geometric.data.download_url", no_network)
    says(
        f"{tmp_path}\n  ethanol cannot be downloaded: no route to host\n"
        "  download the files by hand and put them into this folder: ethanol/raw/md17_ethanol.npz",
        kind="md17", molecule="ethanol", root=str(tmp_path),
    )  # fmt: skip
    says(
        f"{tmp_path}\n  QM9 cannot be downloaded: no route to host\n"
        "  download the files by hand and put them into this folder: "
        "raw/gdb9.sdf, raw/gdb9.sdf.csv, raw/uncharacterized.txt",
        kind="qm9", source="pyg", root=str(tmp_path), labels={"U0": Label("graph")},
    )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_a_download(arrays: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(url: str, folder: str) -> str:
        assert url.endswith("/md17_ethanol.npz")
        Path(folder).mkdir(parents=True)
        np.savez(Path(folder) / "md17_ethanol.npz", **arrays)
        return f"{folder}/md17_ethanol.npz"

    monkeypatch.setattr("torch_geometric.datasets.md17.download_url", download)
    split = {"train": 5, "val": 2, "test": 3}
    first = loaded(kind="md17", molecule="ethanol", root=str(tmp_path / "root"), split=split)
    monkeypatch.undo()
    again = loaded(kind="md17", molecule="ethanol", root=str(tmp_path / "root"), split=split)
    assert len(first.train) == len(again.train) == 5
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["ethanol"]


HEADER = "mol_id,A,B,C,mu,alpha,homo,lumo,gap,r2,zpve,u0,u298,h298,g298,cv,u0_atom,u298_atom,h298_atom,g298_atom\n"
VALUES = (
    "157.7118,157.70997,157.70699,{mu},13.21,-0.3877,0.1171,0.5048,35.3641,0.044749,-40.47893,-40.476062,-40.475117,"
    "-40.498597,6.469,-395.999594594,-398.643290011,-401.014646522,-372.471772148\n"
)


@pytest.fixture
def raw_qm9(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Twelve methanes in the raw format, of which the third and the last are uncharacterized."""
    (tmp_path / "raw").mkdir()
    rows = [f"gdb_{k + 1}," + VALUES.format(mu=float(k)) for k in range(12)]
    (tmp_path / "raw" / "gdb9.sdf").write_text("".join(METHANE.format(number=k + 1) for k in range(12)))
    (tmp_path / "raw" / "gdb9.sdf.csv").write_text(HEADER + "".join(rows))
    (tmp_path / "raw" / "uncharacterized.txt").write_text("heading\n" * 9 + "    3  C  C\n   12  C  C\n2 compounds\n")
    monkeypatch.setitem(qm9_files.MOLECULES, "raw", 12)
    monkeypatch.setitem(qm9_files.MOLECULES, "pack", 10)
    return str(tmp_path)


QM9 = {name: Label("graph") for name in ("mu", "gap", "U0", "U0_atom", "U0_total", "alpha", "Cv")}


def test_raw_qm9(raw_qm9: str) -> None:
    split = {"train": "rest", "val": 2, "test": 1, "method": "time"}
    splits = loaded(labels=QM9, kind="qm9", source="pyg", root=raw_qm9, split=split)
    assert splits.train.stacked("frame").tolist() == [0, 1, 3, 4, 5, 6, 7]
    assert splits.test.stacked("mu").tolist() == [10.0]
    graph = splits.train[2]
    assert graph.pos[1].tolist() == [0.0022, -0.006, 0.002]
    assert float(graph.gap) == 0.5048 * ENERGY["Hartree"]
    # The table's own atomization energy in kcal/mol
    assert float(graph.U0) == float(graph.U0_atom) == pytest.approx(-395.999594594 * KCAL, rel=1e-6)
    assert float(graph.U0_total) == -40.47893 * ENERGY["Hartree"]
    few = {"train": 2, "val": 1, "test": 1, "method": "random"}
    chosen = loaded(labels=QM9, kind="qm9", source="pyg", root=raw_qm9, split=few)
    assert all(float(g.mu) == float(g.frame) for _, d in chosen.items() for g in d)


def test_raw_qm9_mistakes(raw_qm9: str) -> None:
    options = {"labels": QM9, "kind": "qm9", "source": "pyg", "root": raw_qm9}
    sdf, table = Path(raw_qm9) / "raw" / "gdb9.sdf", Path(raw_qm9) / "raw" / "gdb9.sdf.csv"
    says(
        "data=qm9 (pyg)\n  the split needs 110000 (train) + 10000 (val) + rest (test) frames, but there are 10",
        **options,
    )
    split = {"train": 8, "val": 1, "test": 1}
    sdf.write_text("".join(METHANE.format(number=k + 1) for k in range(4)))
    says(f"{sdf}, frame 4\n  the file ends before the table does", **options, split=split)
    sdf.write_text("something else\n" * 200)
    says(
        f"{sdf}, frame 0\n  cannot be read as SDF: expected a V2000 record, found 'something else'",
        **options, split=split,
    )  # fmt: skip
    table.write_text("name,y\n" + "a,1\n" * 12)
    says(
        f"{table}\n  has no column cv\n  this is not a QM9 file, or its version is not supported",
        **options,
        split=split,
    )


def test_qm9pack() -> None:
    """The molecules are those of the raw files, in their order."""
    files = qm9_files.pack_files()
    assert qm9_files.count_pack(files) == 130_831
    labels = QM9 | {"polarizability": Label("graph", (3, 3)), "charges": Label("node")}
    splits = loaded(labels=labels, kind="qm9", split={"train": 8, "val": 2, "test": 2, "method": "random"})
    for _, dataset in splits.items():
        for graph in dataset:
            isotropic = float(graph.polarizability[0].trace()) / 3 / LENGTH["bohr"] ** 3
            assert isotropic == pytest.approx(float(graph.alpha), abs=0.006)
            assert abs(float(graph.charges.sum())) < 1e-4
            assert -150 < float(graph.U0) < -10
    number, methane = next(qm9_files.pack_molecules(files, [0]))
    assert number == 0
    assert methane.get_chemical_formula() == "CH4"
    assert methane.info["U0"] == pytest.approx(-395.999594594 * KCAL, rel=1e-6)


def test_without_qm9pack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qm9_files, "find_spec", lambda name: None)
    says("  the package qm9pack is not installed\n  pip install 'e3frame[qm9]'", labels=QM9, kind="qm9")


def crystal(scale: float, seed: int) -> Atoms:
    atoms = bulk("Cu", cubic=True) * (1, 1, 1)
    atoms.rattle(0.05, seed=seed)
    atoms.set_cell(atoms.cell * scale, scale_atoms=True)
    return atoms


def test_a_stress_in_every_form(tmp_path: Path, frames: Callable[..., list[Atoms]]) -> None:
    """Six components in ASE's order, nine, a matrix, a virial; in energy/length^3, GPa or kbar; a small cell."""
    from ase.io import write

    matrix = np.array([[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]]) * 0.01
    made = []
    for seed in range(4):
        atoms = crystal(1.0, seed)
        atoms.info |= {
            "voigt": matrix.reshape(9)[[0, 4, 8, 5, 2, 1]],
            "nine": matrix.reshape(9),
            "matrix": matrix,
            "W": -matrix * atoms.cell.volume,
            "gpa": matrix / 1e9 * 1e30 * 1.602176634e-19,
        }
        made.append(atoms)
    path = tmp_path / "a.xyz"
    write(path, made, format="extxyz")
    labels = {"stress": Label("graph", (3, 3))}
    cases = [
        ({"stress": "voigt"}, {}), ({"stress": "nine"}, {}), ({"stress": "matrix"}, {}), ({"virial": "W"}, {}),
        ({"stress": "gpa"}, {"stress": "GPa"}),
    ]  # fmt: skip
    for keys, units in cases:
        splits = loaded(labels=labels, kind="xyz", path=str(path), keys=keys, units=units)
        np.testing.assert_allclose(splits.train[0].stress[0], matrix, atol=1e-9)
    hartree = loaded(labels=labels, kind="xyz", path=str(path), keys={"virial": "W"}, units={"energy": "Hartree"})
    np.testing.assert_allclose(hartree.train[0].stress[0], matrix * ENERGY["Hartree"], rtol=1e-7)
    # 4 atoms in a cell of 3.6 Å, far below the cutoff: each sees its own images
    graph = hartree.train[0]
    assert (graph.edge_index[0] == graph.edge_index[1]).sum() > 0

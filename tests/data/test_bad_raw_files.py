"""Raw files of md17, rmd17 and qm9 that are damaged or not theirs: the whole message, and all broken frames counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from support.qm9 import METHANE

from e3frame.cli import main
from e3frame.data.formats import qm9_files
from e3frame.data.pipeline.loader import load
from e3frame.data.sources.base import Label, parse_data
from e3frame.spec.errors import DataError

FORCES = {"energy": Label("graph"), "forces": Label("node", (3,))}
QM9 = {"mu": Label("graph"), "U0": Label("graph")}


def says(raw: dict, labels: dict[str, Label], message: str) -> None:
    with pytest.raises(DataError) as caught:
        load(parse_data(raw), 4.0, labels)
    assert str(caught.value) == message


NAMES = {
    "md17": {"z": "z", "R": "R", "E": "E", "F": "F"},
    "rmd17": {"z": "nuclear_charges", "R": "coords", "E": "energies", "F": "forces"},
}
FILES = {"md17": "ethanol/raw/md17_ethanol.npz", "rmd17": "raw/rmd17/npz_data/rmd17_ethanol.npz"}


def trajectory(kind: str, change: Callable[[dict], object] = dict) -> dict:
    """Forty distorted ethanols in a raw file, and the config that reads them; ``change`` is made to the arrays."""
    rng, ethanol = np.random.default_rng(0), molecule("CH3CH2OH")
    made = {
        "z": ethanol.numbers,
        "R": ethanol.positions + 0.05 * rng.normal(size=(40, 9, 3)),
        "E": rng.normal(size=40) - 97_000,
        "F": rng.normal(size=(40, 9, 3)),
    }
    change(made)
    path = Path(FILES[kind])
    path.parent.mkdir(parents=True)
    np.savez(path, **{NAMES[kind][key]: value for key, value in made.items()})
    more = {"fold": None} if kind == "rmd17" else {}
    split = {"train": 30, "val": 4, "test": 4, "method": "time"}
    return {"kind": kind, "molecule": "ethanol", "root": ".", "split": split, **more}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("key", "zREF")
def test_a_missing_array(kind: str, key: str) -> None:
    raw, names = trajectory(kind, lambda made: made.pop(key)), NAMES[kind]
    there = ", ".join(name for short, name in names.items() if short != key)
    hint = "this raw file may belong to another data set"
    says(raw, FORCES, f"{FILES[kind]}\n  has no array '{names[key]}'; its arrays are {there}\n  {hint}")


@pytest.mark.parametrize("kind", FILES)
def test_a_truncated_trajectory(kind: str) -> None:
    raw, path = trajectory(kind), Path(FILES[kind])
    path.write_bytes(path.read_bytes()[:-300])
    says(raw, FORCES, f"{path}\n  cannot be read as npz: File is not a zip file")


def test_a_trajectory_of_another_length() -> None:
    raw = trajectory("rmd17", lambda made: made.update(E=made["E"][:-1]))
    says(raw, FORCES, f"{FILES['rmd17']}\n  energies has shape (39,), but there are 40 frames")
    raw = raw | {"fold": 1}
    splits = Path("raw/rmd17/splits")
    splits.mkdir()
    for name in ("train", "test"):
        (splits / f"index_{name}_01.csv").write_text("3\n99999\n")
    says(raw, FORCES, f"{splits}/index_train_01.csv\n  frame 99999 is listed, but the last frame is 39")


def test_the_test_file_of_ccsd_is_looked_at_too() -> None:
    raw = trajectory("md17") | {"level": "ccsd", "split": {"train": 30, "val": 10}}
    folder = Path("ethanol CCSD(T)/raw")
    folder.mkdir(parents=True)
    whole = Path(FILES["md17"]).read_bytes()
    (folder / "ethanol_ccsd_t-train.npz").write_bytes(whole)
    (folder / "ethanol_ccsd_t-test.npz").write_bytes(whole)
    assert [len(d) for _, d in load(parse_data(raw), 4.0, FORCES).items()] == [30, 10, 40]
    water = molecule("H2O")
    np.savez(
        folder / "ethanol_ccsd_t-test.npz", z=water.numbers, R=water.positions[None], E=[0.0], F=np.ones((1, 3, 3))
    )
    message = "contains H2O, but ethanol is C2H6O\n  this raw file may belong to another data set"
    says(raw, FORCES, f"{folder}/ethanol_ccsd_t-test.npz\n  {message}")


def broken(made: dict) -> None:
    for k in (3, 9, 17, 21, 29):
        made["R"][k, 2] += 40.0
    made["E"][6] = np.nan
    made["F"][12, 4, 1] = np.inf
    made["R"][36, 0, 0] = np.nan
    made["R"][35] = np.nan  # in the gap between two splits


@pytest.mark.parametrize("kind", FILES)
def test_broken_frames_of_a_trajectory(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    trajectory(kind, broken)
    given = ["check", "--full", f"data={kind}", "data.molecule=ethanol", "data.root=.", "model.r_max=4"]
    given += ["data.split.train=30", "data.split.val=4", "data.split.test=4", "data.split.method=time"]
    assert main(given + (["data.fold=null"] if kind == "rmd17" else [])) == 1
    out = " ".join(capsys.readouterr().out.split())
    names, file = NAMES[kind], Path(FILES[kind]).name
    for text in (
        f"5 of 38: atom 2 (O) has no neighbour within r_max = 4 Å (frames 3, 9, 17, 21, ... of {file})",
        f"1 of 38: {names['E']} is not finite: nan (frame 6 of {file})",
        f"1 of 38: {names['F']} of atom 4 is not finite: [",
        "1 of 38: the position of atom 0 is not finite: [nan, ",
        "checked 30 valid frames",
    ):
        assert text in out
    assert "frame 35" not in out


HEADER = "mol_id,A,B,C,mu,alpha,homo,lumo,gap,r2,zpve,u0,u298,h298,g298,cv\n"
ROW = (
    "gdb_{number},157.7,157.7,157.7,{mu},13.21,-0.3877,0.1171,0.5048,35.3641,0.044749,-40.47893,-40.476062,-40.475117,"
    "-40.498597,6.469\n"
)
SDF, TABLE, LIST = (f"raw/{name}" for name in qm9_files.RAW)


def raw_qm9(monkeypatch: pytest.MonkeyPatch) -> dict:
    """Twenty methanes, of which the third and the last are uncharacterized."""
    Path("raw").mkdir()
    Path(SDF).write_text("".join(METHANE.format(number=k + 1) for k in range(20)))
    Path(TABLE).write_text(HEADER + "".join(ROW.format(number=k + 1, mu=k / 4) for k in range(20)))
    Path(LIST).write_text("heading\n" * 9 + "    3  C  C\n   20  C  C\n2 compounds\n")
    monkeypatch.setitem(qm9_files.MOLECULES, "raw", 20)
    monkeypatch.setitem(qm9_files.MOLECULES, "pack", 18)
    return {"kind": "qm9", "source": "pyg", "root": ".", "split": {"train": 16, "val": 1, "test": 1}}


def edited(path: str, old: str, new: str) -> None:
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new, 1))


ATOM = "    1.0117    1.4638    0.0003 H "
RAW_MISTAKES: dict[str, tuple[tuple[str, str, str], str]] = {
    "NaN of a label": ((TABLE, ",1.25,", ",nan,"), "data=qm9 (pyg), frame 5\n  mu is not finite: nan"),
    "no number": ((TABLE, ",1.25,", ",abc,"), f"{TABLE}, frame 5\n  could not convert string to float: 'abc'"),
    "a row that is cut short": (
        (TABLE, "gdb_6,157.7,157.7,157.7,1.25,", "gdb_6,"), f"{TABLE}, frame 5\n  the row has 12 of 16 columns",
    ),
    "another element": ((SDF, ATOM, ATOM.replace("H", "P")), f"{TABLE}, frame 0\n  'P' is not an element of QM9"),
    "no element": ((SDF, ATOM, ATOM.replace("H", "?")), f"{SDF}, frame 0\n  '?' is not an element of QM9"),
    "not finite": (
        (SDF, ATOM, ATOM.replace("1.4638", "   nan")),
        "data=qm9 (pyg), frame 0\n  the position of atom 2 is not finite: [1.0117, nan, 0.0003]",
    ),
    "coincident atoms": (
        (SDF, ATOM, "   -0.0127    1.0858    0.0090 H "),
        "data=qm9 (pyg), frame 0\n  atoms 0 and 2 are at the same place: 0.001 Å from each other",
    ),
    "an atom too few": (
        (SDF, "  5  4  0 ", " 15  4  0 "), f"{SDF}, frame 0\n  cannot be read as SDF: it has 9 of 15 atoms",
    ),
    "another format": (
        (SDF, "V2000", "V3000"),
        f"{SDF}, frame 0\n  cannot be read as SDF: expected a V2000 record, found "
        "'5  4  0     0  0  0  0  0  0999 V3000'",
    ),
    "no column": (
        (TABLE, ",cv\n", ",c_v\n"),
        f"{TABLE}\n  has no column cv\n  this is not a QM9 file, or its version is not supported",
    ),
    "another list": ((LIST, "    3", "  abc"), f"{LIST}\n  is not QM9's list of uncharacterized molecules"),
}  # fmt: skip


@pytest.mark.parametrize("case", RAW_MISTAKES)
def test_raw_qm9(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, (edit, message) = raw_qm9(monkeypatch), RAW_MISTAKES[case]
    edited(*edit)
    says(raw, QM9, message)


def test_raw_qm9_that_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = raw_qm9(monkeypatch)
    whole = {path: Path(path).read_bytes() for path in (SDF, TABLE, LIST)}
    hint = "the file may be truncated; delete it to download it again"
    for lines in (0, 1, 12):
        Path(TABLE).write_bytes(b"".join(whole[TABLE].splitlines(keepends=True)[:lines]))
        says(raw, QM9, f"{TABLE}\n  has {max(lines - 1, 0)} molecules, expected 20\n  {hint}")
    Path(TABLE).write_bytes(whole[TABLE])
    Path(SDF).write_bytes(whole[SDF][: whole[SDF].index(b"gdb_8") + 100])
    says(raw, QM9, f"{SDF}, frame 7\n  the file ends before the table does")
    Path(SDF).write_bytes(b"")
    says(raw, QM9, f"{SDF}, frame 0\n  the file ends before the table does")
    Path(SDF).write_bytes(whole[SDF])
    Path(LIST).write_bytes(whole[LIST].replace(b"   20  C  C\n", b""))
    says(raw, QM9, f"{LIST}\n  lists 1 uncharacterized molecules, expected 2\n  {hint}")
    Path(LIST).write_bytes(b"")
    says(raw, QM9, f"{LIST}\n  is not QM9's list of uncharacterized molecules")
    Path(TABLE).write_bytes(b"\xff\xfe\x00" * 100_000)  # another file altogether
    says(raw, QM9, f"{TABLE}\n  has 0 molecules, expected 20\n  {hint}")


def test_broken_molecules_are_counted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Those before and after a broken one are read."""
    raw_qm9(monkeypatch)
    edited(TABLE, ",1.25,", ",nan,")
    edited(TABLE, ",2.25,", ",inf,")
    edited(TABLE, "gdb_4,157.7,", "gdb_4,")
    edited(SDF, "gdb_8\n  -OEChem-03231823243D\n\n  5", "gdb_8\n  -OEChem-03231823243D\n\n  x")
    text = Path(SDF).read_text()
    Path(SDF).write_text(text[: text.index("gdb_16") + 300])
    given = ["check", "--full", "model=energy", "data=qm9", "data.source=pyg", "data.root=.", "data.split.train=16"]
    given += ["data.split.val=1", "data.split.test=1", "data.split.method=time", "task=energy"]
    given += ["task.targets.energy.key=mu"]
    assert main(given) == 1
    out = " ".join(capsys.readouterr().out.split())
    for text in (
        "2 of 18: mu is not finite: nan (frames 5, 9 of data=qm9 (pyg))",
        "1 of 18: the row has 15 of 16 columns (frame 3 of gdb9.sdf.csv)",
        "1 of 18: cannot be read as SDF: expected a V2000 record, found 'x 4 0 0 0 0 0 0 0999 V2000' (frame 7 ",
        "4 of 18: the file ends before the table does (frames 15, 16, 17, 18 of gdb9.sdf)",
        "checked 10 valid frames",
    ):
        assert text in out


@pytest.fixture
def pack(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first ten molecules of qm9pack, in files of its form."""
    files = []
    for file, lines in zip(qm9_files.pack_files(), (6, 6, 1, 11), strict=True):
        first = 0 if "polarizability" in file or not files else 5
        with open(qm9_files.pack_files()[0 if lines == 6 else len(files)], encoding="utf-8") as table:
            rows = [next(table) for _ in range(11)]
        files.append(Path(file).name)
        Path(files[-1]).write_text("".join([rows[0], *rows[1 + first : first + lines]]))
    monkeypatch.setattr(qm9_files, "pack_files", lambda: files)
    monkeypatch.setitem(qm9_files.MOLECULES, "pack", 10)
    return files


PACK = {"kind": "qm9", "split": {"train": 8, "val": 1, "test": 1, "method": "time"}}
PART, TENSORS = "qm9_part2.csv", "qm9_polarizability.csv"
PACK_MISTAKES: dict[str, tuple[tuple[str, str, str], str]] = {
    "no polarizability": (
        (TENSORS, "dsgdb9nsd_000007", "dsgdb9nsd_999999"),
        f"{PART}, frame 6\n  dsgdb9nsd_000007.xyz has no polarizability",
    ),
    "a row that is cut short": (
        (TENSORS, ",18.560,0.000", ",18.560"), f"{PART}, frame 5\n  dsgdb9nsd_000006.xyz has no polarizability",
    ),
    "no column": (
        (PART, "Dipole_debye", "Dipole"),
        f"{PART}\n  has no column Dipole_debye\n  this is not a QM9 file, or its version is not supported",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PACK_MISTAKES)
def test_qm9pack(case: str, pack: list[str]) -> None:
    assert load(parse_data(PACK), 4.0, QM9).test.stacked("frame").tolist() == [9]
    edit, message = PACK_MISTAKES[case]
    edited(*edit)
    says(PACK, QM9, message)


def test_qm9pack_that_is_cut_short(pack: list[str]) -> None:
    whole = Path(PART).read_text()
    Path(PART).write_text(whole[: whole.rindex("\n", 0, -1) + 200])
    says(PACK, QM9, f"{PART}, frame 9\n  the row has 8 of 25 columns")
    Path(PART).write_text(whole[: whole.rindex("\n", 0, -1) + 1])
    says(PACK, QM9, ".\n  has 9 molecules, expected 10\n  pip install --force-reinstall qm9pack")

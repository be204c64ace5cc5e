"""Bad input of each kind, in each of the formats that can hold it: the whole message."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write

from e3frame.data.pipeline.loader import load
from e3frame.data.sources.base import AnyData, Label, parse_data
from e3frame.spec.base import Spec
from e3frame.spec.errors import DataError, UserError
from e3frame.spec.units import known_units
from e3frame.spec.validate import SpecErrors, validate

LABELS = {"energy": Label("graph"), "forces": Label("node", (3,))}


class Run(Spec):
    data: AnyData


Change = Callable[[list[Atoms]], None]


def _xyz(frames: Sequence[Atoms]) -> dict:
    write("a.xyz", frames, format="extxyz")
    return {"kind": "xyz", "path": "a.xyz"}


def _ase_db(frames: Sequence[Atoms]) -> dict:
    with connect("a.db") as database:
        for atoms in frames:
            row = atoms.copy()  # what was moved after its calculation keeps the results
            row.calc = SinglePointCalculator(row, **atoms.calc.results)
            database.write(row, data=atoms.info)
    return {"kind": "ase_db", "path": "a.db"}


def _npz(frames: Sequence[Atoms], path: str = "a.npz") -> dict:
    arrays = {
        "z": np.array([atoms.numbers for atoms in frames]),
        "R": np.array([atoms.positions for atoms in frames]),
        "E": np.array([atoms.calc.results["energy"] for atoms in frames]),
        "F": np.array([atoms.calc.results["forces"] for atoms in frames]),
        "cell": np.array([atoms.cell.array for atoms in frames]),
    }
    np.savez(path, **arrays)
    return {"kind": "npz", "path": path} | ({"structure": {"cell": "cell"}} if frames[4].pbc.all() else {})


def _md17(frames: Sequence[Atoms]) -> dict:
    Path("ethanol/raw").mkdir(parents=True, exist_ok=True)
    _npz(frames, "ethanol/raw/md17_ethanol.npz")
    path = Path("ethanol/raw/md17_ethanol.npz")
    with np.load(path) as arrays:
        one = dict(arrays) | {"z": arrays["z"][0]}
    np.savez(path, **one)
    split = {"train": 8, "val": 1, "test": 1, "method": "time"}
    return {"kind": "md17", "molecule": "ethanol", "root": ".", "split": split}


WRITERS = {"xyz": _xyz, "ase_db": _ase_db, "npz": _npz, "md17": _md17}
FILES = {"xyz": "a.xyz", "ase_db": "a.db", "npz": "a.npz", "md17": "ethanol/raw/md17_ethanol.npz"}


def _moved(atom: int, other: int) -> Change:
    def change(frames: list[Atoms]) -> None:
        frames[4].positions[atom] = frames[4].positions[other] + [0.0, 0.0, 0.001]

    return change


def _far(frames: list[Atoms]) -> None:
    frames[4].positions[2] = 90.0


def _without_a_cell(frames: list[Atoms]) -> None:
    for atoms in frames:
        atoms.set_cell(np.eye(3) * 12.0)
        atoms.pbc = True
    frames[4].set_cell(np.zeros((3, 3)))


def _nan(frames: list[Atoms]) -> None:
    frames[4].calc.results["energy"] = np.nan


def _without_forces(frames: list[Atoms]) -> None:
    frames[4].calc = SinglePointCalculator(frames[4], energy=-1.0)


def _other_keys(frames: list[Atoms]) -> None:
    frames[4].info["E0"] = frames[4].calc.results["energy"]
    frames[4].calc = SinglePointCalculator(frames[4], forces=np.zeros((9, 3)))


def _a_number(frames: list[Atoms]) -> None:
    for atoms in frames:
        atoms.info["F"] = 3


CASES: dict[str, tuple[Change, str, tuple[str, ...]]] = {
    "coincident atoms": (
        _moved(1, 0), "atoms {ij} are at the same place: 0.001 Å from each other", ("xyz", "ase_db", "npz", "md17"),
    ),
    "an atom without neighbours": (
        _far, "atom 2 (O) has no neighbour within r_max = 4 Å\n  raise model.r_max, or check data.units.length\n"
        "  if isolated atoms are intended: data.allow=[isolated_atoms]",
        ("xyz", "ase_db", "npz", "md17"),
    ),
    "a zero cell": (
        _without_a_cell,
        "the frame is periodic, but its cell vectors are linearly dependent: "
        "[[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]",
        ("ase_db", "npz"),
    ),
    "NaN": (_nan, "{energy} is not finite: nan", ("xyz", "npz", "md17")),
    "a key of some frames": (
        _without_forces, "no key 'forces' for the label forces\n  existing keys: energy; "
        "if some frames lack it: data.allow_missing=[forces]", ("xyz", "ase_db"),
    ),
    "frames with different keys": (
        _other_keys, "no key 'energy' for the label energy\n  existing keys: E0, forces; "
        "if some frames lack it: data.allow_missing=[energy]", ("xyz", "ase_db"),
    ),
}  # fmt: skip


@pytest.fixture
def ethanol(frames: Callable[..., list[Atoms]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Atoms]:
    monkeypatch.chdir(tmp_path)
    return frames(10, "CH3CH2OH")


def says(raw: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(parse_data(raw), 4.0, LABELS)
    assert str(caught.value) == message


@pytest.mark.parametrize(("case", "kind"), [(case, kind) for case, (_, _, kinds) in CASES.items() for kind in kinds])
def test_frames(case: str, kind: str, ethanol: list[Atoms]) -> None:
    change, message, _ = CASES[case]
    change(ethanol)
    message = message.replace("{ij}", "0 and 1").replace("{energy}", "energy" if kind == "xyz" else "E")
    says(WRITERS[kind](ethanol), f"{FILES[kind]}, frame 4\n  {message}")


@pytest.mark.parametrize("kind", ["xyz", "ase_db", "npz"])
def test_a_number_where_forces_are_needed(kind: str, ethanol: list[Atoms]) -> None:
    _a_number(ethanol)
    raw = WRITERS[kind](ethanol)
    if kind == "npz":
        with np.load("a.npz") as arrays:
            whole = dict(arrays) | {"F": np.full(10, 3)}
        np.savez("a.npz", **whole)
    keys = {"energy": "E" if kind == "npz" else "energy", "forces": "F"}
    hint = "forces is one value of shape (3,) per atom"
    message = f"{FILES[kind]}, frame 0\n  F has shape (), but the label forces needs (9, 3)\n  {hint}"
    says({**raw, "keys": keys}, message)


EMPTY = {
    "xyz": "no frames",
    "ase_db": "is not an SQLite database of ASE\n  for other formats use data=xyz",
    "npz": "cannot be read as npz: No data left in file",
    "md17": "cannot be read as npz: No data left in file",
}


@pytest.mark.parametrize("kind", EMPTY)
def test_an_empty_file(kind: str, ethanol: list[Atoms]) -> None:
    raw = WRITERS[kind](ethanol)
    Path(FILES[kind]).write_bytes(b"")
    says(raw, f"{FILES[kind]}\n  {EMPTY[kind]}")


COMPRESS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
CUT = {
    "xyz": ", frame 9\n  the file ends after 8 of 9 atoms",
    "ase_db": "\n  cannot be read as an ASE database: database disk image is malformed",
    "npz": "\n  cannot be read as npz: File is not a zip file",
    "md17": "\n  cannot be read as npz: File is not a zip file",
}


@pytest.mark.parametrize("kind", CUT)
def test_a_truncated_file(kind: str, ethanol: list[Atoms]) -> None:
    raw, path = WRITERS[kind](ethanol), Path(FILES[kind])
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b"\nH")] if kind == "xyz" else whole[: len(whole) // 2])
    says(raw, f"{FILES[kind]}{CUT[kind]}")


ENDED = "Compressed file ended before the end-of-stream marker was reached"


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_compressed_file(suffix: str, ethanol: list[Atoms]) -> None:
    """Whole, cut short, damaged, and not compressed at all."""
    _xyz(ethanol)
    plain, path = Path("a.xyz").read_bytes(), Path(f"b.xyz.{suffix}")
    whole, raw = COMPRESS[suffix](plain), {"kind": "xyz", "path": str(path)}
    middle = len(whole) // 2
    path.write_bytes(whole)
    assert len(load(parse_data(raw), 4.0, LABELS).train) == 8
    path.write_bytes(whole[:middle])
    says(raw, f"{path}\n  cannot be read: {ENDED}")
    says({**raw, "format": "extxyz"}, f"{path}\n  cannot be read as extxyz: {ENDED}")
    for content in (whole[:middle] + b"\xff" * 40 + whole[middle + 40 :], plain):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"^b\.xyz\.{suffix}\n  cannot be (read|opened): (?!None)\w"):
            load(parse_data(raw), 4.0, LABELS)


@pytest.mark.usefixtures("ethanol")
def test_a_compressed_file_whose_beginning_is_sound(frames: Callable[..., list[Atoms]]) -> None:
    """By it ASE knows the format."""
    _xyz(frames(300, "CH3CH2OH"))
    whole = gzip.compress(Path("a.xyz").read_bytes())
    Path("b.xyz.gz").write_bytes(whole[: len(whole) // 2])
    says({"kind": "xyz", "path": "b.xyz.gz"}, f"b.xyz.gz\n  cannot be read as extxyz: {ENDED}")


def test_a_truncated_trajectory_of_ase(ethanol: list[Atoms]) -> None:
    write("a.traj", ethanol)
    whole = Path("a.traj").read_bytes()
    for length, where in ((len(whole) // 2, ", frame 4"), (20, "")):
        Path("a.traj").write_bytes(whole[:length])
        says(
            {"kind": "xyz", "path": "a.traj"},
            f"a.traj{where}\n  cannot be read as traj: buffer is smaller than requested size",
        )


def test_a_database_without_rows(ethanol: list[Atoms]) -> None:
    says({**_ase_db(ethanol), "select": "natoms=3"}, "a.db\n  no frames")


@pytest.mark.parametrize("kind", WRITERS)
def test_a_split_larger_than_the_set(kind: str, ethanol: list[Atoms]) -> None:
    raw = WRITERS[kind](ethanol) | {"split": {"train": 9, "val": 1, "test": 2, "method": "time"}}
    says(raw, f"{FILES[kind]}\n  the split needs 9 (train) + 1 (val) + 2 (test) frames, but there are 10")


@pytest.mark.parametrize("kind", ["xyz", "ase_db", "npz"])
@pytest.mark.parametrize(
    ("quantity", "name", "hint"),
    [("energy", "kcal", "did you mean kcal/mol? " + known_units("energy")), ("length", "furlong", "known: Å, bohr, nm"),
     ("stress", "Pa", "did you mean GPa? known: eV/Å^3, GPa, kbar"), ("dipole", "Debey", "known: e*Å, D, e*bohr"),
     ("forces", "Hartree/bor", "did you mean Hartree/bohr? " + known_units("forces")),
     ("virial", "kJmol", "did you mean kJ/mol? " + known_units("energy")),
     ("polarizability", "bohr", "did you mean bohr^3? known: Å^3, bohr^3")],
)  # fmt: skip
def test_a_unit_that_does_not_exist(kind: str, quantity: str, name: str, hint: str) -> None:
    with pytest.raises(SpecErrors) as caught:
        validate(Run, {"data": {"kind": kind, "path": "a", "units": {quantity: name}}})
    assert str(caught.value.errors[0]) == f"data.units.{quantity}\n  {name} is not a unit of {quantity}\n  {hint}"


@pytest.mark.parametrize("kind", ["xyz", "ase_db"])
def test_mixed_periodicity(kind: str, ethanol: list[Atoms]) -> None:
    """It is sound, but for a stress, which a molecule has not."""
    for atoms in ethanol:
        atoms.set_cell(np.eye(3) * 12.0)
        atoms.pbc = True
        atoms.info["S"] = np.zeros(9)
    ethanol[4].set_cell(None)
    ethanol[4].pbc = False
    raw = WRITERS[kind](ethanol)
    assert load(parse_data(raw), 4.0, LABELS).train.stacked("pbc").all(1).sum() == 7
    with pytest.raises(DataError) as caught:
        load(parse_data({**raw, "keys": {"stress": "S"}}), 4.0, {"stress": Label("graph", (3, 3))})
    assert str(caught.value) == (
        f"{FILES[kind]}, frame 4\n  stress needs a periodic cell, but this frame has none\n"
        "  remove the label, or set data.allow_missing=[stress] and remove the key from this frame"
    )


def test_a_raw_file_of_another_set(frames: Callable[..., list[Atoms]], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    says(
        _md17(frames(10, "CH3OH")),
        "ethanol/raw/md17_ethanol.npz\n  contains CH4O, but ethanol is C2H6O\n"
        "  this raw file may belong to another data set",
    )


WRONG_KIND = {
    ("xyz", "npz"): "a.xyz\n  is not a NumPy file\n  for other formats use data=xyz",
    ("xyz", "ase_db"): "a.xyz\n  is not an SQLite database of ASE\n  for other formats use data=xyz",
    ("npz", "ase_db"): "a.npz\n  is not an SQLite database of ASE\n  for other formats use data=xyz",
    ("ase_db", "npz"): "a.db\n  is not a NumPy file\n  for other formats use data=xyz",
}


@pytest.mark.parametrize(("given", "read_as"), WRONG_KIND)
def test_a_file_of_another_kind(given: str, read_as: str, ethanol: list[Atoms]) -> None:
    WRITERS[given](ethanol)
    says({"kind": read_as, "path": FILES[given]}, WRONG_KIND[given, read_as])

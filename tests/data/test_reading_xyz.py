"""XYZ files as people have them: what is read right, and what is refused with its line."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read as ase_read
from ase.io import write

from e3frame.data.formats import xyz_text
from e3frame.data.formats.ase_files import count_frames, read_frames
from e3frame.data.formats.xyz_frame import element
from e3frame.data.pipeline.loader import load, recipe_of
from e3frame.data.pipeline.preparation import prepared
from e3frame.data.sources.base import Label
from e3frame.data.sources.xyz import XyzSpec
from e3frame.files.opened import opened
from e3frame.spec.elements import SYMBOLS
from e3frame.spec.errors import DataError

PROPERTIES = "Properties=species:S:1:pos:R:3"
STRESS = {"stress": Label("graph", (3, 3))}
FULL = [[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]]
PACKED = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def only(text: str | bytes, name: str = "a.xyz") -> Atoms:
    """The one frame of a file; raises the DataError in its place."""
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    ((_, atoms),) = read_frames(name, None)
    if isinstance(atoms, DataError):
        raise atoms
    return atoms


def message(text: str | bytes) -> str:
    with pytest.raises(DataError) as caught:
        only(text)
    return str(caught.value)


def test_everything_that_ase_writes_is_read_as_ase_reads_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = []
    for k in range(4):
        atoms = Atoms(
            "FeOH", rng.normal(size=(3, 3)), cell=rng.normal(size=(3, 3)) * (k > 0), pbc=[k > 0, k > 1, k > 2]
        )
        atoms.calc = SinglePointCalculator(
            atoms, energy=-1.5, forces=rng.normal(size=(3, 3)), stress=np.arange(6.0), magmoms=[0.0, 1.0, 2.0]
        )
        atoms.info |= {"name": "a b", "alpha": np.arange(9.0), "flag": True, "list": [[1, 2], [3, 4]], "n": k}
        atoms.arrays["labels"] = np.array(["a", "b", "c"])
        atoms.arrays["count"], atoms.arrays["yes"] = np.arange(3), np.array([True, False, True])
        made.append(atoms)
    write("a.xyz", made, format="extxyz")
    for (_, mine), theirs in zip(read_frames("a.xyz", None), ase_read("a.xyz", ":"), strict=True):
        assert mine == theirs
        assert mine.arrays.keys() == theirs.arrays.keys()
        assert all((mine.arrays[key] == theirs.arrays[key]).all() for key in theirs.arrays)
        np.testing.assert_equal(mine.info, theirs.info)
        np.testing.assert_equal(mine.calc.results, theirs.calc.results)


@pytest.mark.parametrize("key", ["stress", "virial", "REF_stress"])
@pytest.mark.parametrize("numbers", ["1 2 3 4 5 6", "1 6 5 6 2 4 5 4 3"])
@pytest.mark.parametrize("marks", ['""', "{}", "[]"])
def test_stress_of_six_and_of_nine_numbers(key: str, numbers: str, marks: str) -> None:
    """Six are xx, yy, zz, yz, xz, xy; a virial is -volume times the stress."""
    text = f'1\nLattice="2 0 0 0 2 0 0 0 2" {PROPERTIES} {key}={marks[0]}{numbers}{marks[1]}\nAl 0 0 0\n'
    Path("a.xyz").write_text(text)
    label = "virial" if key == "virial" else "stress"
    spec = XyzSpec(path="a.xyz", keys={label: key}, split={"val": 0, "test": 0})
    stress = load(spec, 4.0, STRESS).train.stacked("stress")[0].numpy()
    np.testing.assert_allclose(stress, np.array(FULL) / (-8.0 if label == "virial" else 1.0), rtol=1e-15)
    six = len(numbers.split()) == 6 and key != "REF_stress"
    said = [f"a.xyz has six components of the {key}; they are read in the order xx, yy, zz, yz, xz, xy"]
    assert spec.remarks() == said * six


@pytest.mark.parametrize(
    ("text", "symbol"),
    [("C", "C"), ("c", "C"), ("CL", "Cl"), ("fe", "Fe"), ("6", "C"), ("26", "Fe"), ("D", "H"), ("T", "H"), ("2H", "H"),
     ("13C", "C"), ("238U", "U"), ("C1", "C"), ("H12", "H"), ("Fe2", "Fe"), ("Fe3+", "Fe"), ("O2-", "O"), ("C_3", "C"),
     ("N_R", "N"), ("W1", "W"), ("X", "X")],
)  # fmt: skip
def test_what_stands_for_an_element(text: str, symbol: str) -> None:
    assert SYMBOLS[element(text)] == symbol


@pytest.mark.parametrize("text", ["HG1", "CA2", "Q", "119", "0", "H-", "Bq", "1.0", "C1'", "GH", "13C2", ""][:-1])
def test_what_does_not_stand_for_an_element(text: str) -> None:
    if text == "H-":
        assert element(text) == 1
        return
    said = message(f"2\n{PROPERTIES}\nH 0 0 1\n{text} 0 0 0\n")
    assert said.startswith(f"a.xyz, frame 0\n  cannot be read as extxyz: line 4: {text} is not an element\n  write its")


@pytest.mark.parametrize(
    "raw",
    [
        "\ufeff2\n\nO 0 0 0\nH 0.001 0 1e-101\n",
        "2\r\n\r\nO 0 0 0\r\nH 0.001 0 1e-101\r\n",
        "2\n\nO\t0 0\t0\nH 0.001 0 1e-101",
        "  2 \n\n O 0 0 0\nH 1.0D-3 0 1.0-101\n\n\n",
        "2\n\nO 0.0d0 0 0\nH 1d-3 0 1.0E-101\n",
        "\n2\nsome words\nO 0 0 0 7 8\nH .001 0 1e-101 9\n",
        f"2\n{PROPERTIES}\n8 0 0 0\n1 0.001 0 1e-101\n",
        "2\nProperties=Z:I:1:pos:R:3\n8 0 0 0\n1 0.001 0 1e-101\n",
        "2\nProperties=pos:R:3:species:S:1:Z:I:1\n0 0 0 O 8\n0.001 0 1e-101 H 1\n",
    ],
)
@pytest.mark.parametrize("suffix", PACKED)
def test_texts_that_are_read_right(raw: str, suffix: str) -> None:
    atoms = only(PACKED[suffix](raw.encode()), f"a.xyz{suffix}")
    assert atoms.get_chemical_symbols() == ["O", "H"]
    assert atoms.positions.tolist() == [[0.0, 0.0, 0.0], [0.001, 0.0, 1e-101]]
    assert not atoms.pbc.any()


def test_numbers_of_fortran_in_the_comment_line() -> None:
    atoms = only(f'1\n{PROPERTIES} energy=-1.5D+02 Lattice="2.0d0 0 0 0 3 0 0 0 4.D0" term=1D2\nH 0 0 0\n')
    assert atoms.calc.results["energy"] == -150.0
    assert atoms.cell.lengths().tolist() == [2.0, 3.0, 4.0]
    assert atoms.info == {"term": "1D2"}


WRONG = {
    "decimal comma": ("1\n\nH 0,5 0 0\n", "line 3: 0,5 is not a number (pos)\n  use a decimal point: 0.5"),
    "decimal commas of a cell": (
        '1\nLattice="9,0 0,0 0,0 0,0 9,0 0,0 0,0 0,0 9,0"\nH 0 0 0\n',
        "line 2: Lattice has 18 numbers, 9 are required\n  use decimal points: 0.5, not 0,5",
    ),
    "a number that overflowed": (
        "1\n\nH ******** 0 0\n",
        "line 3: ******** is not a number (pos)\n  the number did not fit into its column; "
        "write the file with wider columns",
    ),
    "a column too many": (f"1\n{PROPERTIES}\nH 0 0 0 1\n", "line 3 has 5 columns, but Properties lists 4"),
    "a column too few": ("2\n\nH 0 0 0\nH 0 0\n", "line 4 has 3 columns, but an element and a position need 4"),
    "small letters": (
        '1\nlattice="9 0 0 0 9 0 0 0 9"\nH 0 0 0\n', "line 2 has lattice=, which is ignored\n  write Lattice=",
    ),
    "pbc": (f'1\n{PROPERTIES} pbc="T T"\nH 0 0 0\n', 'line 2: pbc is [True, True]\n  for example pbc="T T F"'),
    "half a property": (
        "1\nProperties=species:S:1:pos:R:3:forces:R\nH 0 0 0 1 1 1\n",
        "line 2: Properties=species:S:1:pos:R:3:forces:R cannot be read\n"
        "  write a list of name:kind:columns, for example species:S:1:pos:R:3",
    ),
    "no elements": (
        "1\nProperties=pos:R:3\n0 0 0\n",
        "line 2: Properties has no elements\n  add species:S:1 for symbols, or Z:I:1 for atomic numbers",
    ),
    "two elements": (
        "1\nProperties=species:S:1:pos:R:3:Z:I:1\nH 0 0 0 8\n", "line 3: species says H, but Z says 8",
    ),
    "five numbers": (
        '1\nstress="1 2 3 4 5"\nH 0 0 0\n',
        "line 2: stress has 5 numbers, 9 are required\n"
        "  write nine components, or six in the order xx, yy, zz, yz, xz, xy",
    ),
    "Latin-1": ("1\nwässrig\nH 0 0 0\n".encode("latin-1"), "line 2 is not UTF-8 text\n  save the file as UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_texts_that_are_refused_with_their_line(case: str) -> None:
    text, said = WRONG[case]
    assert message(text) == f"a.xyz, frame 0\n  cannot be read as extxyz: {said}"


def test_an_energy_with_a_decimal_comma() -> None:
    Path("a.xyz").write_text(f"2\n{PROPERTIES} energy=-1,5\nH 0 0 0\nH 0 0 1\n" * 3)
    with pytest.raises(DataError, match=r"if the file has -1,5: use a decimal point, -1\.5"):
        load(XyzSpec(path="a.xyz", keys={"energy": "energy"}), 4.0, {"energy": Label("graph")})


def test_files_that_are_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    frame = b"1\n\nH 0 0 0\n"
    for raw, said in [
        (gzip.compress(frame), "the file is compressed\n  its name must end in .gz, .bz2 or .xz"),
        (frame.decode().encode("utf-16"), "the file is UTF-16 text\n  save it as UTF-8"),
        (
            frame.replace(b"\n", b"\r") + b"x",
            "line 1 contains carriage returns\n  use Unix or Windows line endings",
        ),
        (b"1000000000000\n\nH 0 0 0\n", "the file ends after 1 of 1000000000000 atoms"),
    ]:
        assert message(raw) == f"a.xyz, frame 0\n  {said}"


def test_what_is_no_file() -> None:
    os.mkfifo("pipe.xyz")
    Path("folder.xyz").mkdir()
    Path("dangling.xyz").symlink_to("nowhere.xyz")
    Path("loop.xyz").symlink_to("loop.xyz")
    told = {
        "pipe.xyz": "is a named pipe, not a file\n  write its contents to a file",
        "/dev/zero": "is a device, not a file\n  write its contents to a file",
        "folder.xyz": "is a folder, not a file\n  all its files: folder.xyz/*",
        "dangling.xyz": "no such file: the link leads to nowhere.xyz",
        "loop.xyz": "cannot be opened: Too many levels of symbolic links",
        "~nobody-of-this-name/a.xyz": "no such file",
        "a" * 300: "cannot be opened: File name too long",
    }
    for name, said in told.items():
        with pytest.raises(DataError) as caught:
            load(XyzSpec(path=name), 4.0, {})
        assert str(caught.value) == f"{name}\n  {said}"
    with pytest.raises(DataError, match="is a named pipe"):
        next(read_frames("pipe.xyz", None))
    with pytest.raises(DataError, match="is a named pipe"):
        XyzSpec(path="a.xyz", split={"method": "index", "train_index": "pipe.xyz"}).split.divide(5)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much of files is read, uncompressed."""
    sizes: list[int] = []

    class Counting:
        def __init__(self, contents: Any) -> None:
            self.contents = contents

        def __getattr__(self, name: str) -> Any:
            return getattr(self.contents, name)

        def read(self, size: int = -1) -> bytes:
            found = self.contents.read(size)
            sizes.append(len(found))
            return found

    @contextmanager
    def counting(file: str) -> Iterator[Any]:
        with opened(file) as found:
            yield found._replace(contents=Counting(found.contents))

    monkeypatch.setattr(xyz_text, "opened", counting)
    return sizes


@pytest.mark.parametrize("suffix", PACKED)
def test_a_file_is_gone_through_twice_however_long(
    suffix: str, counted: list[int], frames: Callable[..., list[Atoms]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once to find the frames, once to read them; not once for each portion."""
    monkeypatch.setattr(xyz_text, "BLOCK", 10_000)
    write("a.xyz", frames(200), format="extxyz")
    raw = Path("a.xyz").read_bytes()
    Path(f"b.xyz{suffix}").write_bytes(PACKED[suffix](raw))
    spec = XyzSpec(path=f"b.xyz{suffix}")
    labels = {"energy": Label("graph"), "forces": Label("node", (3,))}
    recipe = recipe_of(spec, 4.0, labels)
    counted.clear()
    chunks = list(prepared(recipe, 1))
    assert sum(len(chunk.counts["z"]) for chunk in chunks) == 200
    assert np.concatenate([chunk.values["frame"] for chunk in chunks]).tolist() == list(range(200))
    assert len(raw) < sum(counted) <= 2 * len(raw)
    counted.clear()
    (few,) = prepared(recipe.__class__(**{**recipe.__dict__, "chosen": np.array([0, 3, 190])}), 1)
    assert few.values["frame"].tolist() == [0, 3, 190]
    np.testing.assert_array_equal(
        few.values["energy"], np.concatenate([c.values["energy"] for c in chunks])[[0, 3, 190]]
    )
    assert sum(counted) <= (len(raw) if suffix else len(raw) / 50)  # of a file that is not compressed just these frames


def test_frames_are_where_the_index_says(frames: Callable[..., list[Atoms]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands between them, and wherever blocks end."""
    write("a.xyz", frames(7), format="extxyz")
    pieces = Path("a.xyz").read_text().split("\n6\n")
    Path("a.xyz").write_text("\ufeff\n" + "\n\n \r\n6\n".join(pieces) + "\n\n")
    whole = dict(read_frames("a.xyz", None))
    for block in (7, 100, 1 << 20):
        monkeypatch.setattr(xyz_text, "BLOCK", block)
        os.utime("a.xyz", ns=(block, block))
        assert count_frames("a.xyz", None) == 7
        few = dict(read_frames("a.xyz", None, [1, 2, 6]))
        assert list(few) == [1, 2, 6]
        assert all(few[k] == whole[k] for k in few)

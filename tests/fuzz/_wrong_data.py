"""Changes of data files: of bytes, words, headers, shapes, rows of databases, and other files in their place."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import re
import sqlite3
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np

NUMBERS = (
    *("nan", "inf", "-inf", "1e400", "-1", "0", "999999999999", "9" * 30, "1e-320", "0x10", "1,5", "1.0D-3", "****"),
    *("", "T", "½", "\x1b[31m", "'", '"', "{", "é", "1_000", "--1", "1e5", "100000"),
)
HEADS = (
    *("0", "-3", "3.0", "1000000000000", "9" * 5000, "", " 3 ", "three", "\x00", "2", "4"),
    *(
        'Lattice="1 0 0"',
        'Lattice="0 0 0 0 0 0 0 0 0"',
        'Lattice="1e-9 0 0 0 1 0 0 0 1"',
        'Lattice="nan 0 0 0 1 0 0 0 1"',
    ),
    *('Lattice="1e300 0 0 0 1e300 0 0 0 1e300" pbc="T T T"', 'lattice="9 0 0 0 9 0 0 0 9"', 'pbc="T T"', "pbc=maybe"),
    *('Lattice="9 0 0 9 0 0 9 0 0"', 'Lattice="9 0 0 0 9 0 0 0 9" pbc="T F T"', "Properties=", "Properties", "energy"),
    *("Properties=species:S:1:pos:R:3:forces:R", "Properties=pos:R:3", "Properties=species:S:1:pos:R:1000000000"),
    *("Properties=species:S:-1:pos:R:3", "Properties=species:S:1:pos:R:3:forces:I:3", "Properties=species:S:1:pos:X:3"),
    *(
        "Properties=species:S:1:pos:R:3:pos:R:3",
        "Properties=species:S:1:species:S:1:pos:R:3",
        "energy=-1,5",
        "energy=abc",
    ),
    *(
        'stress="1 2 3"',
        'stress="1 2 3 4 5 6"',
        "stress=5",
        'virial="a b c d e f g h i"',
        "energy=-1.0D+02",
        "units=furlong",
    ),
    *(
        "energy_unit=MeV",
        "energy_unit=kcal/mol",
        f"x=_JSON {'[' * 3000}",
        f'x="_JSON {"[" * 100000}"',
        'a="b',
        "a=\\",
        "=" * 50,
    ),
    *("Properties=species:S:1:pos:R:3:energy:R:3", "Properties=species:S:1:pos:R:3:move_mask:L:3", "e=1 " * 5000),
)


class State(NamedTuple):
    """Sound files by their name, and a model that was not trained."""

    sound: dict[str, bytes]
    model: Path


class Damaged(NamedTuple):
    """What was done, and the run config's ``data`` that reads the result."""

    name: str
    data: dict[str, Any]


def _data(path: str, **more: Any) -> dict[str, Any]:
    kind = {".npz": "npz", ".db": "ase_db"}.get(Path(path).suffix, "xyz")
    return {"kind": kind, "path": path} | more


def _bytes(state: State, random: Random, folder: Path) -> Damaged:
    """Bytes changed, lost, added, repeated; a file cut short."""
    name = random.choice(sorted(state.sound))
    raw = bytearray(state.sound[name])
    for _ in range(random.choice((1, 1, 2, 20, 300))):
        place, length = random.randrange(len(raw) + 1), random.choice((1, 1, 4, 50, 1000))
        piece = raw[place : place + length]
        raw[place : place + length] = random.choice(
            (random.randbytes(len(piece)), b"", bytes(len(piece)), piece * 2, b"\xff" * len(piece), b"\n", b" ")
        )
    if random.random() < 0.2:
        del raw[random.randrange(len(raw) + 1) :]
    (folder / name).write_bytes(raw)
    return Damaged(f"bytes of {name}", _data(name))


def _tokens(state: State, random: Random, folder: Path) -> Damaged:
    """Numbers and words of a text replaced; lines lost, repeated, exchanged; other ends of lines."""
    name = random.choice(
        sorted(name for name in state.sound if not name.endswith((".gz", ".bz2", ".xz", ".npz", ".db", ".traj")))
    )
    lines = state.sound[name].decode().split("\n")
    for _ in range(random.choice((1, 1, 3, 30))):
        k = random.randrange(len(lines))
        tokens = re.split(r"(\s+|=|:)", lines[k])
        tokens[random.randrange(len(tokens))] = random.choice(
            (*NUMBERS, "H", "D", "Xx", "C1", "8", "119", "energy", "\t")
        )
        lines[k] = "".join(tokens)
        if random.random() < 0.3:
            j = random.randrange(len(lines))
            lines[j : j + 1] = random.choice(([], [""], [lines[j]] * 2, [lines[k], lines[j]], [lines[j] + " 1.0"]))
    raw = (
        random.choice(("\n", "\n", "\n", "\r\n", "\r"))
        .join(lines)
        .encode(random.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16")))
    )
    (folder / name).write_bytes(raw)
    return Damaged(f"tokens of {name}", _data(name))


def _head(state: State, random: Random, folder: Path) -> Damaged:
    """First or second line of a frame replaced, or a key added to it; also within a compressed file."""
    lines = state.sound["water.xyz"].decode().split("\n")
    frame, head = random.choice((0, 0, 3, 11)), random.choice(HEADS)
    k = 5 * frame + ("=" in head or random.random() < 0.3)
    lines[k] = head if random.random() < 0.5 else f"{lines[k]} {head}"
    suffix, pack = random.choice((("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)))
    name = f"a.xyz{suffix}"
    (folder / name).write_bytes(pack("\n".join(lines).encode()))
    keys = {"energy": "energy", "forces": "forces"} | random.choice(({}, {"stress": "stress"}, {"forces": "x"}))
    return Damaged(f"head {head[:30]!r} in frame {frame} of {name}", _data(name, keys=keys))


def _huge(state: State, random: Random, folder: Path) -> Damaged:
    """Claims of much more than there is, and compressed files of much more than they seem."""
    which = random.choice(("count", "bomb", "zeros", "rows", "together"))
    if which == "together":
        number = random.choice((3000, 8000))
        cell = random.choice(("", 'Lattice="9 0 0 0 9 0 0 0 9"'))
        text = f"{number}\n{cell}\n" + "H 0 0 0\n" * number
        (folder / "a.xyz").write_text(text * 2)
        return Damaged(f"{number} atoms at one place", _data("a.xyz", keys={}))
    text = {
        "count": b"1000000000000\n\nH 0 0 0\n" + b"H 0 0 1\n" * 100_000,
        "bomb": b"3\n\n" + b"O 0 0 0\n" * 3 + b" " * 300_000_000,
        "zeros": bytes(600_000_000),
        "rows": b"999999999\n\n" + b"H 0 0 0\n" * 20_000_000,
    }[which]
    (folder / "a.xyz.gz").write_bytes(gzip.compress(text, 1))
    return Damaged(f"a compressed file: {which}", _data("a.xyz.gz"))


def _place(state: State, random: Random, folder: Path) -> Damaged:
    """What is no file, and names that are hard to write."""
    suffix = random.choice((".xyz", ".npz", ".db", ".xyz.gz", ".traj", ".json"))
    name = f"a{suffix}"
    what = random.choice(
        ("fifo", "folder", "link", "loop", "device", "empty", "blank", "name", "long", "missing", "socketless")
    )
    if what == "fifo":
        os.mkfifo(folder / name)
    elif what == "folder":
        (folder / name).mkdir()
    elif what == "link":
        (folder / name).symlink_to("nowhere")
    elif what == "loop":
        (folder / name).symlink_to(name)
    elif what == "device":
        (folder / name).symlink_to(random.choice(("/dev/zero", "/dev/null", "/dev/urandom", "/dev/full", "/dev/tty")))
    elif what in ("empty", "blank"):
        (folder / name).write_bytes(b"" if what == "empty" else b"\n \n\n")
    elif what == "name":
        name = random.choice(
            ("a\x1b[31m.xyz", "a\nb.xyz", "ä[b].xyz", "a b.xyz", "*.xyz", "-a.xyz", "a@1.xyz", "a\u202eb.xyz")
        )
        (folder / name).write_bytes(state.sound["water.xyz"][: random.choice((100, 10_000))])
    elif what == "long":
        name = random.choice(("a" * 300, "a/" * 3000, "a\x00b")) + suffix
    if random.random() < 0.2:
        return Damaged(
            f"{what} as test_path",
            _data("b.xyz", test_path=name) | _sound(state, folder),
        )
    return Damaged(f"{what} {name[:20]!r}", _data(name))


def _sound(state: State, folder: Path) -> dict[str, Any]:
    (folder / "b.xyz").write_bytes(state.sound["water.xyz"])
    return {"kind": "xyz", "path": "b.xyz"}


def _shapes(state: State, random: Random, folder: Path) -> Damaged:
    """Arrays of other shapes, types and values."""
    with np.load(io.BytesIO(state.sound["water.npz"])) as held:
        arrays = dict(held)
    key = random.choice(sorted(arrays))
    array = arrays[key]
    other = random.choice(
        (
            lambda: array[:5], lambda: array[..., None], lambda: array.T, lambda: array.reshape(-1), lambda: array[:0],
            lambda: array.astype(str), lambda: array.astype(complex), lambda: array * np.nan, lambda: array * 1e300,
            lambda: np.float64(3.0), lambda: array.astype(np.float16), lambda: array.astype(bool), lambda: -array,
            lambda: np.zeros_like(array), lambda: np.array([{"a": 1}], dtype=object), lambda: array + 1000,
            lambda: np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
            lambda: array.astype("datetime64[s]", casting="unsafe"),
            lambda: np.array(["x" * 1000]),
        )
    )  # fmt: skip
    try:
        arrays[key] = other()
    except (TypeError, ValueError):
        del arrays[key]
    more = random.choice(
        (
            {},
            {"e_unit": "kcal/mol"},
            {"e_unit": "furlong"},
            {"r_unit": b"Ang"},
            {"units": {"a": 1}},
            {"R_unit": np.zeros(3)},
        )
    )
    with np.errstate(all="ignore"):
        np.savez(folder / "a.npz", **arrays, **more)
    cell = random.choice(
        ({}, {"structure": {"cell": "E"}}, {"structure": {"positions": "F"}}, {"units": {"energy": "eV"}})
    )
    return Damaged(
        f"array {key} as {arrays.get(key, np.zeros(0)).dtype} {arrays.get(key, np.zeros(0)).shape}",
        _data("a.npz", **cell),
    )


def _claims(state: State, random: Random, folder: Path) -> Damaged:
    """Headers of arrays that promise what is not there."""
    shape = random.choice(
        (
            "(1000000000000, 3, 3)",
            "(12, 3, 3000000000)",
            "(-1, 3, 3)",
            "(" * 200,
            "()",
            "'a'",
            "(2**40,)",
            "(True, 3, 3)",
            "(9" + "0" * 40 + ",)",
        )
    )
    dtype = random.choice(("'<f8'", "'<f8'", "'|O'", "'<U1000000'", "'|V9'", "[('a', '<f8')]", "'<f99'", "None"))
    head = (
        f"{{'descr': {dtype}, 'fortran_order': {random.choice(('False', 'True', '3'))}, 'shape': {shape}, }}".encode()
    )
    head += b" " * (-len(head) - 11 % 64) + b"\n"
    version = random.choice((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x09"))
    length = random.choice((len(head), len(head), 5, 60_000))
    packed = struct.pack("<H" if version[0] == 1 else "<I", length)
    with (
        zipfile.ZipFile(io.BytesIO(state.sound["water.npz"])) as old,
        zipfile.ZipFile(folder / "a.npz", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for info in old.infolist():
            raw = old.read(info)
            if info.filename == random.choice(("R.npy", "R.npy", "z.npy", "E.npy")):
                raw = b"\x93NUMPY" + version + packed + head + bytes(random.choice((0, 800, 100_000_000)))
            new.writestr(info.filename, raw)
    return Damaged(f"a claim of {shape[:30]} {dtype}", _data("a.npz"))


def _rows(state: State, random: Random, folder: Path) -> Damaged:
    """Values of a database replaced, which stays a sound one of SQLite."""
    path = folder / "a.db"
    path.write_bytes(state.sound["water.db"])
    column = random.choice(
        (
            "numbers",
            "positions",
            "cell",
            "pbc",
            "natoms",
            "data",
            "key_value_pairs",
            "calculator",
            "energy",
            "metadata",
            "id",
        )
    )
    value = random.choice(
        (
            None,
            "",
            "{}",
            b"",
            b"\x00" * 7,
            random.randbytes(72),
            "nan",
            10**15,
            -1,
            1e300,
            "[" * 50_000,
            '{"energy": "a"}',
            '{"forces": [1]}',
        )
    )
    with sqlite3.connect(path) as database:
        if column == "metadata":
            said = random.choice(
                (
                    '{"_property_unit_dict": {"energy": "furlong"}}',
                    '{"unit": 5}',
                    "nonsense",
                    '{"energy_unit": "Ha"}',
                    "[1]",
                    '{"units": {"energy": null}}',
                    '{"_distance_unit": "parsec"}',
                )
            )
            database.execute("UPDATE information SET value = ? WHERE name = 'metadata'", (said,))
        else:
            try:
                database.execute(f"UPDATE systems SET {column} = ? WHERE id = 5", (value,))
            except sqlite3.Error:
                database.execute(random.choice(("DROP TABLE information", "DROP TABLE systems", "DELETE FROM systems")))
    database.close()
    return Damaged(
        f"{column} of a row is {str(value)[:20]!r}",
        _data("a.db", **random.choice(({}, {"kind": "xyz"}, {"select": "natoms=3"}, {"units": {"energy": "eV"}}))),
    )


def _raw(state: State, random: Random, folder: Path) -> Damaged:
    """Raw files of MD17 and QM9."""
    raw = bytearray(state.sound["water.npz"])
    if random.random() < 0.5:
        place = folder / "ethanol" / "raw"
        place.mkdir(parents=True)
        raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)
        (place / "md17_ethanol.npz").write_bytes(raw)
        return Damaged("md17", {"kind": "md17", "molecule": "ethanol", "root": "."})
    place = folder / "raw"
    place.mkdir()
    texts = (
        "",
        "mol_id,mu\n" * 5,
        "mol_id,A,B,C,mu,alpha,homo,lumo,gap,r2,zpve,u0,u298,h298,g298,cv\n" + "gdb_1,1\n" * 133_885,
    )
    (place / "gdb9.sdf.csv").write_text(random.choice(texts))
    (place / "gdb9.sdf").write_bytes(random.choice((b"", random.randbytes(1000), b"$$$$\n" * 200_000)))
    (place / "uncharacterized.txt").write_text(
        random.choice(("", "\n" * 20, "\n" * 9 + "".join(f"{k} a\n" for k in range(1, 3055)) + "\n\n"))
    )
    return Damaged("qm9", {"kind": "qm9", "source": "pyg", "root": "."})


MAKERS: dict[Callable[[State, Random, Path], Damaged], int] = {
    _bytes: 25, _tokens: 25, _head: 15, _huge: 2, _place: 8, _shapes: 8, _claims: 7, _rows: 7, _raw: 3,
}  # fmt: skip

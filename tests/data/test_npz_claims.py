"""What an npz file claims to hold is held against what it holds, before memory is taken for it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from e3frame.data.formats import npz_arrays
from e3frame.data.formats.npz_arrays import arrays_of
from e3frame.data.pipeline.loader import load
from e3frame.data.sources.base import Label
from e3frame.data.sources.npz import NpzSpec
from e3frame.spec.errors import DataError

ENERGY = {"energy": Label("graph")}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def member(shape: str, descr: str = "'<f8'", body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + version + len(head).to_bytes(2 if version[0] == 1 else 4, "little") + head + body


def written(**members: bytes) -> None:
    """Two frames of hydrogen, with some arrays replaced by these bytes."""
    positions = np.array([[[0, 0, 0], [0, 0, 0.8]]] * 2)
    sound = {"R": positions, "z": np.array([1, 1]), "E": np.zeros(2)}
    with zipfile.ZipFile("a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in sound.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            archive.writestr(f"{name}.npy", members.get(name, buffer.getvalue()))


CLAIMS = {
    "terabytes": (
        member("(1000000000000, 3, 3)", body=bytes(144)),
        "an array of shape (1000000000000, 3, 3) needs 72 TB, but the file has 144 bytes",
    ),
    "beyond all numbers": (
        member("(9" + "0" * 40 + ",)"),
        "an array of shape (9" + "0" * 40 + ",) needs 7.2e+29 TB, but the file has 0 bytes",
    ),
    "less than there is": (
        member("(2,)", body=bytes(160)), "an array of shape (2,) needs 16 bytes, but the file has 160 bytes",
    ),
    "negative": (member("(-1, 3, 3)"), "an array of shape (-1, 3, 3) needs -72 bytes, but the file has 0 bytes"),
    "objects": (member("(2,)", "'|O'"), "it contains pickled objects, which are not supported (they can run code)"),
    "no shape": (member("("), "the header of an array is damaged: ('EOF in multi-line statement', (2, 0))"),
    "version": (member("(2,)", version=b"\x09\x00"), "arrays of format version 9.0 are not supported"),
}  # fmt: skip


@pytest.mark.parametrize("case", CLAIMS)
@pytest.mark.parametrize("name", ["R", "E"])
def test_claims(case: str, name: str) -> None:
    raw, said = CLAIMS[case]
    written(**{name: raw})
    with pytest.raises(DataError) as caught:
        load(NpzSpec(path="a.npz", keys={"energy": "E"}), 4.0, ENERGY)
    assert str(caught.value) == f"a.npz\n  cannot be read as npz: {said}"


def test_more_than_the_machine_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    written()
    monkeypatch.setattr(npz_arrays, "_memory", lambda: 90)
    with pytest.raises(DataError) as caught:
        load(NpzSpec(path="a.npz", keys={"energy": "E"}), 4.0, ENERGY)
    assert str(caught.value) == "a.npz\n  R needs 96 bytes of memory, but this machine has 90 bytes"


def test_what_is_not_asked_for_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting frames reads no array; preparing them those of structures and labels."""
    np.savez_compressed("a.npz", R=np.zeros((5, 2, 3)), z=[1, 1], E=np.zeros(5), large=np.zeros(10_000_000))
    arrays = arrays_of("a.npz")
    assert NpzSpec(path="a.npz").count("a.npz") == 5
    assert not arrays._read
    assert set(arrays) == {"R", "z", "E", "large"}
    assert arrays["E"].tolist() == [0.0] * 5
    assert set(arrays._read) == {"E"}

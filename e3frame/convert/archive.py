"""Files of ``torch.save``, opened without torch's unpickler: a zip archive of a pickle and the numbers of tensors."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from e3frame.convert.pickled import Unpickled, unpickled
from e3frame.convert.records import SIZES, Global, Storage, Stored, Unreadable
from e3frame.files.opened import require_file
from e3frame.files.regular import open_regular
from e3frame.spec.base import shown
from e3frame.spec.errors import DataError, FileError
from e3frame.spec.words import printable

ENTRIES = 1_000_000
"""Most entries of an archive; a large model has some thousands."""

_STORAGES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
}
"""Types of numbers by torch's names of their storages."""

_LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The number with which files of torch before 1.6 begin."""


class Archive:
    """An open file of ``torch.save``.

    Attributes:
        path: the file.
        found: what its pickle describes.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile, size: int) -> None:
        self.path = path
        self._archive = archive
        self._entries = _entries(archive, size)
        self._root = _root(self._entries)
        self._storages: dict[str, bytearray] = {}
        order = self._read("byteorder").strip() if f"{self._root}byteorder" in self._entries else b"little"
        if order != b"little":
            raise Unreadable("it was written on a machine of another byte order")
        self.found: Unpickled = unpickled(self._read("data.pkl"), self._storage)

    def tensor(self, stored: Stored) -> Tensor:
        """Read a tensor.

        Raises:
            FileError: its bytes are damaged.
        """
        key = stored.storage.key
        if key not in self._storages:
            try:
                self._storages[key] = bytearray(self._read(f"data/{key}"))
            except _BROKEN:
                raise not_readable(self.path, f"the numbers in data/{key} are damaged") from None
        dtype, content = getattr(torch, stored.dtype), self._storages[key]
        if 0 in stored.shape:
            return torch.empty(stored.shape, dtype=dtype)
        numbers = torch.frombuffer(content, dtype=torch.uint8)[: stored.storage.count * SIZES[stored.dtype]].clone()
        return numbers.view(dtype).as_strided(stored.shape, stored.strides, stored.offset).contiguous()

    def _read(self, name: str) -> bytes:
        return self._archive.read(self._entries[f"{self._root}{name}"])

    def _storage(self, identifier: Any) -> Storage:
        """Return the storage of a persistent identifier: ``("storage", torch.FloatStorage, key, device, count)``."""
        sound = isinstance(identifier, tuple) and len(identifier) == 5 and identifier[0] == "storage"
        kind, key, count = (identifier[1], identifier[2], identifier[4]) if sound else (None, None, None)
        if not isinstance(kind, Global) or not isinstance(key, str) or type(count) is not int or count < 0:
            raise Unreadable("its pickle refers to numbers in an unknown form")
        dtype = _STORAGES.get(kind.name.removeprefix("torch.").removesuffix("Storage"))
        entry = self._entries.get(f"{self._root}data/{key}")
        if dtype is None:
            raise Unreadable(f"it holds numbers of a type that is not read: {printable(shown(kind.name))}")
        if entry is None or entry.file_size < count * SIZES[dtype]:
            raise Unreadable(f"the numbers in data/{printable(key, 40)} are missing or cut off")
        return Storage(key, dtype, count)


_BROKEN = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    KeyError,
)
"""What :mod:`zipfile` raises for damaged archives."""


@contextmanager
def opened_archive(path: Path) -> Iterator[Archive]:
    """Open a file of ``torch.save``, as long as the block runs.

    Raises:
        FileError: the file does not exist, is of another kind, is damaged, or is beyond a limit.
    """
    try:
        size = require_file(path).size
        file = open_regular(path)
    except DataError as error:
        raise FileError(path, error.problem, None if path.exists() else error.hint) from None
    except OSError as error:
        raise FileError(path, f"cannot be opened: {error.strerror}") from None
    with file:
        _require_kind(path, file.read(4096))
        try:
            archive = zipfile.ZipFile(file)
            content = Archive(path, archive, size)
        except Unreadable as error:
            raise not_readable(path, str(error), error.hint) from None
        except _BROKEN:
            raise not_readable(path, "it is a zip archive that is damaged or cut off") from None
        yield content


def not_readable(path: Path, problem: str, hint: str | None = None) -> FileError:
    """Return the error for a file that cannot be converted."""
    return FileError(path, f"not converted: {problem}", hint)


def _require_kind(path: Path, beginning: bytes) -> None:
    """Raise FileError for files that are not zip archives."""
    if beginning[:4] == b"PK\x03\x04":
        return
    if _LEGACY in beginning[:32]:
        again = "load it with torch and save it again: torch.save(torch.load(FILE), NEW)"
        raise not_readable(path, "it is in the format of torch before 1.6", again)
    if beginning[8:9] == b"{":
        raise not_readable(path, "it is a safetensors file", "a model of e3frame needs no conversion")
    raise not_readable(path, "it is not a file of torch.save", "e3frame convert --list shows what is read")


def _entries(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the entries by name; all are stored as they are and together fit into the file, as torch writes them."""
    listed = archive.infolist()
    entries = {entry.filename: entry for entry in listed}
    if len(listed) > ENTRIES:
        raise Unreadable(f"it has {len(listed):,} entries, at most {ENTRIES:,} are read")
    if len(entries) < len(listed):
        raise Unreadable("two of its entries have the same name")
    if any("/code/" in name or name.endswith("constants.pkl") for name in entries):
        raise Unreadable("it is compiled (TorchScript)", "convert the file from which it was compiled")
    if any(name.endswith("extern_modules") for name in entries):
        raise Unreadable("it is a package of code (torch.package)", "convert the checkpoint of the training")
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in listed):
        raise Unreadable("its entries are compressed or encrypted, which torch.save does not do")
    if sum(entry.file_size for entry in listed) > size:
        raise Unreadable(f"its entries claim more bytes than the {size:,} of the file")
    return entries


def _root(entries: dict[str, zipfile.ZipInfo]) -> str:
    """Return the folder that all entries of the file are in."""
    roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise Unreadable("it is a zip archive, but not one of torch.save")
    return roots[0]

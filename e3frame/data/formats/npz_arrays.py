"""Arrays of a NumPy file. All headers are checked first; arrays are read on demand."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile, ZipFile
from zlib import error as ZlibError

from e3frame.files.opened import require_file
from e3frame.spec.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Header(NamedTuple):
    """Shape and type of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Arrays(Mapping[str, "NDArray[Any]"]):
    """Arrays of a file, each read on first access.

    Attributes:
        headers: shape and type of each array.
    """

    def __init__(self, file: str, headers: Mapping[str, Header]) -> None:
        self.file, self.headers = file, headers
        self._read: dict[str, NDArray[Any]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self.headers)

    def __len__(self) -> int:
        return len(self.headers)

    def __contains__(self, key: object) -> bool:
        return key in self.headers

    def __getitem__(self, key: str) -> NDArray[Any]:
        """Read an array; raise DataError if it is damaged, or does not fit into memory."""
        if key not in self._read:
            self._read[key] = self._array(key)
        return self._read[key]

    def _array(self, key: str) -> NDArray[Any]:
        import numpy as np

        needed = self.headers[key].size * self.headers[key].dtype.itemsize
        if needed > _memory():
            raise DataError(
                f"{key} needs {_bytes(needed)} of memory, but this machine has {_bytes(_memory())}", file=self.file
            )
        try:
            with _as_data_errors(self.file), ZipFile(self.file) as members, members.open(f"{key}.npy") as member:
                return np.lib.format.read_array(member, allow_pickle=False)
        except MemoryError:
            raise DataError(f"{key} needs {_bytes(needed)} of memory", file=self.file) from None


def arrays_of(file: str) -> Arrays:
    """Return the arrays of a file. Arrays that were read stay in memory until another file is opened.

    Raises:
        DataError: the file is not a NumPy file, is truncated, holds pickled objects, or has a wrong header.
    """
    state = require_file(file)
    if _last.get("of") != (file, state):
        _last.clear()  # first, to free memory
        _last.update({"of": (file, state), "arrays": Arrays(file, _headers(file))})
    return _last["arrays"]


_last: dict[str, Any] = {}
"""Cache of one file, because its pieces are read one after another."""


def _headers(file: str) -> dict[str, Header]:
    with open(file, "rb") as raw:
        start = raw.read(6)
    if start.startswith(b"\x93NUMPY"):
        raise DataError("contains a single array; a .npz file with several arrays is required", file=file)
    if start and not start.startswith(b"PK"):
        raise DataError("is not a NumPy file", file=file, hint="for other formats use data=xyz")
    if not start:
        raise DataError("cannot be read as npz: No data left in file", file=file)
    found = {}
    with _as_data_errors(file), ZipFile(file) as members:
        for info in members.infolist():
            if not info.filename.endswith(".npy"):
                continue
            with members.open(info) as member:
                found[info.filename.removesuffix(".npy")] = _header(member, info.file_size)
    return found


def _header(member: IO[bytes], size: int) -> Header:
    """Read the header of an array; raise ValueError if it is damaged, or the array has another size."""
    from numpy.lib import format as npy

    version = npy.read_magic(member)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"arrays of format version {version[0]}.{version[1]} are not supported")
    try:
        shape, _, dtype = readers[version](member)
    except Exception as error:  # NumPy parses the header as Python, which fails with various errors
        raise ValueError(f"the header of an array is damaged: {str(error) or type(error).__name__}") from None
    if dtype.hasobject:
        raise ValueError("it contains pickled objects, which are not supported (they can run code)")
    claimed, held = math.prod(shape) * dtype.itemsize, size - member.tell()
    if min(shape, default=0) < 0 or claimed != held:
        raise ValueError(f"an array of shape {shape} needs {_bytes(claimed)}, but the file has {_bytes(held)}")
    return Header(shape, dtype)


@contextmanager
def _as_data_errors(file: str) -> Iterator[None]:
    """Turn errors of zipfile and NumPy into a DataError."""
    try:
        yield
    except DataError:
        raise
    except (BadZipFile, ZlibError, ValueError, OSError, EOFError, TypeError, KeyError, NotImplementedError, SyntaxError,
            RuntimeError, OverflowError, RecursionError) as error:  # fmt: skip
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"cannot be read as npz: {reason}", file=file) from None


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 60


def _bytes(number: float) -> str:
    """
    >>> _bytes(800), _bytes(3e12)
    ('800 bytes', '3 TB')
    """
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if abs(number) < 1000 or unit == "TB":
            return f"{number:.3g} {unit}"
        number /= 1000
    raise AssertionError

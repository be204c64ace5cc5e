"""Data files opened for reading: regular files, compressed or not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from e3frame.files.regular import require_regular
from e3frame.spec.errors import DataError, nearest


class State(NamedTuple):
    """Size and time of the last change of a file, in bytes and nanoseconds."""

    size: int
    changed: int


def require_file(file: str | Path) -> State:
    """The state of a regular file that can be opened.

    Raises:
        DataError: it does not exist, is not a regular file, or may not be read.
    """
    path = Path(file)
    try:
        require_regular(path)
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(path) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if not reason.startswith("it is "):
            raise DataError(f"cannot be opened: {reason}", file=path) from None
        hint = f"all its files: {path}/*" if path.is_dir() else "write its contents to a file"
        raise DataError(reason.removeprefix("it "), file=path, hint=hint) from None
    if not os.access(path, os.R_OK):
        raise DataError("cannot be opened: Permission denied", file=path)
    return State(found.st_size, found.st_mtime_ns)


def _missing(path: Path) -> DataError:
    if path.is_symlink():
        return DataError(f"no such file: the link leads to {os.readlink(path)}", file=path)
    try:
        there = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError:  # a folder that may be entered, but not listed
        there = []
    match = nearest(path.name, there)
    return DataError("no such file", file=path, hint=f"did you mean {path.parent / match}?" if match else None)


class Opened(NamedTuple):
    """An open file.

    Attributes:
        contents: its bytes, uncompressed.
        raw: its bytes on disk.
        seekable: whether the two are the same, so that positions agree.
    """

    contents: BinaryIO
    raw: BinaryIO
    seekable: bool


@contextmanager
def opened(file: str) -> Iterator[Opened]:
    """Open a file; as in ASE, one that ends in .gz, .bz2 or .xz is uncompressed."""
    with open(file, "rb") as raw:
        decompressor = _decompressor(Path(file).suffix, raw)
        if decompressor is None:
            yield Opened(raw, raw, True)
            return
        with decompressor:
            yield Opened(decompressor, raw, False)


def is_compressed(file: str) -> bool:
    """Whether ASE treats the file as compressed."""
    return Path(file).suffix in (".gz", ".bz2", ".xz")


def _decompressor(suffix: str, raw: BinaryIO) -> Any:
    if suffix == ".gz":
        import gzip

        return gzip.GzipFile(fileobj=raw)
    if suffix == ".bz2":
        import bz2

        return bz2.BZ2File(raw)
    if suffix == ".xz":
        import lzma

        return lzma.LZMAFile(raw)
    return None


def once_per_state(call: Any) -> Any:
    """Cache the results of a function of a file until the file changes."""

    @lru_cache(maxsize=64)
    def remembered(file: str, state: State, *more: Any) -> Any:
        return call(file, *more)

    def wrapped(file: str, *more: Any) -> Any:
        return remembered(file, require_file(file), *more)

    return wrapped

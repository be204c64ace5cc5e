"""Files as they are opened: regular ones alone, compressed or not, a block at a time."""

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
    """What changes when a file does."""

    size: int
    changed: int


def require_file(file: str | Path) -> State:
    """The state of a regular file that can be opened.

    Raises:
        DataError: there is none, it is something else, or it may not be read.
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
    """A file: its contents, uncompressed, and the bytes on disk that they come from.

    Attributes:
        seekable: whether a place in the contents is one on disk.
    """

    contents: BinaryIO
    raw: BinaryIO
    seekable: bool


@contextmanager
def opened(file: str) -> Iterator[Opened]:
    """A file, uncompressed by its name as ASE does: .gz, .bz2, .xz."""
    with open(file, "rb") as raw:
        decompressor = _decompressor(Path(file).suffix, raw)
        if decompressor is None:
            yield Opened(raw, raw, True)
            return
        with decompressor:
            yield Opened(decompressor, raw, False)


def is_compressed(file: str) -> bool:
    """Whether ASE takes the file for a compressed one."""
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
    """Remember what a function of a file gives, as long as the file does not change."""

    @lru_cache(maxsize=64)
    def remembered(file: str, state: State, *more: Any) -> Any:
        return call(file, *more)

    def wrapped(file: str, *more: Any) -> Any:
        return remembered(file, require_file(file), *more)

    return wrapped

"""The one place where files are written: in one step, so that a reader finds the old content or the new one."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import TextIO

from e3frame.files.parts import part_of, unfinished
from e3frame.spec.errors import UserError


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a new path in the same folder; the file that the block writes there then replaces ``path``.

    After a crash, also of the machine, ``path`` has the old content or the new one. If the block raises, the new file
    is removed; if the process is killed, :func:`e3frame.files.parts.unfinished` finds it.

    Raises:
        OSError: the file cannot be written; what was there before is untouched.
    """
    part = part_of(path)
    try:
        part.touch(exist_ok=False)  # what cannot be written fails before the work
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(part):
            error.filename = str(path)
        raise
    _sync_folder(path.parent)


@contextmanager
def rewritten(path: Path) -> Iterator[TextIO]:
    """Open a new text file, which replaces ``path`` at the end; errors as of :func:`replaced`."""
    with replaced(path) as part, part.open("w", encoding="utf-8") as file:
        yield file


def replace_file(path: Path, content: bytes) -> Path:
    """Write a file in one step; errors as of :func:`replaced`."""
    with replaced(path) as part, part.open("wb") as file:
        file.write(content)
    return path


def write_file(path: Path, content: bytes) -> Path:
    """Write a file in one step, and its folder if there is none.

    Raises:
        UserError: the disk is full, or the place is not writable; what was there before is untouched.
    """
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return replace_file(path, content)


@contextmanager
def filled(folder: Path, name: str) -> Iterator[Path]:
    """Give a new folder inside ``folder``; the files that the block puts there then move to ``folder``, with their
    subfolders, unless there are such files already.

    Args:
        folder: it is made if need be.
        name: of what is put there. What a killed process left under this name is removed.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in (part for held, part in unfinished(folder, folders=True) if held == name):
        shutil.rmtree(left, ignore_errors=True)
    part = part_of(folder / name)
    part.mkdir()
    try:
        yield part
        for file in sorted(file for file in part.rglob("*") if file.is_file()):
            target = folder / file.relative_to(part)
            if not target.exists():  # it may be the user's
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def open_log(path: Path, *, append: bool = False) -> TextIO:
    """Open a text file that others read while it grows, such as a log."""
    return path.open("a" if append else "w", encoding="utf-8")


def append_line(path: Path, line: str) -> None:
    """Add one line to a file, or nothing.

    Raises:
        UserError: the disk is full, or the place is not writable; the file is unchanged.
    """
    content = f"{line}\n".encode()
    with writable(path):
        before = path.stat().st_size if path.exists() else 0
        try:
            with path.open("ab", buffering=0) as file:
                if _write(file, content) != len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            if path.is_file():
                os.truncate(path, before)
            raise


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into a UserError that names the file."""
    try:
        yield
    except OSError as error:
        hint = "what was written before is complete; the same command continues from there"
        raise UserError(f"{path} cannot be written: {error.strerror or error}\n  {hint}") from None


def _write(file: FileIO, content: bytes) -> int:
    """The number of bytes that the system took: fewer than given where the disk is full."""
    return file.write(content)


def _sync_folder(folder: Path) -> None:
    """Make a new name survive a crash of the machine; not all systems can open a folder."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)

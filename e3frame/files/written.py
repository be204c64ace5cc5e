"""Files of a run, written so that a reader finds the old content or the new one, whatever happens in between."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from e3frame.files.parts import replace_file
from e3frame.spec.errors import UserError


def write_file(path: Path, content: bytes) -> Path:
    """Replace a file in one step: after a crash, also of the machine, it is the old one or the new one.

    Raises:
        UserError: the disk is full, or the place is not writable; what was there before is untouched.
    """
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    return path


def append_line(path: Path, line: str) -> None:
    """Add one line to a file, or nothing.

    Raises:
        UserError: the disk is full, or the place is not writable; the file is as it was.
    """
    content = f"{line}\n".encode()
    with told(path):
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
def told(path: Path) -> Iterator[None]:
    """What the operating system refuses, as a message that names the file."""
    try:
        yield
    except OSError as error:
        hint = "what was written before is whole; the same command goes on from there"
        raise UserError(f"{path} cannot be written: {error.strerror or error}\n  {hint}") from None


def _write(file: FileIO, content: bytes) -> int:
    """How many bytes the system took, which are fewer where the disk is full."""
    return file.write(content)

"""Reading from files alone: a named pipe would wait for ever, and a device may never end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def require_regular(path: str | Path) -> None:
    """Raise OSError, with the path and the reason, where there is no file, or something else than a file."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))


def open_regular(path: str | Path) -> BinaryIO:
    """A file, to read its bytes; the errors of :func:`require_regular`."""
    require_regular(path)
    return open(path, "rb")


def read_regular(path: str | Path) -> bytes:
    """The bytes of a file; the errors of :func:`require_regular`."""
    with open_regular(path) as file:
        return file.read()

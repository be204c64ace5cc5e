"""Paths that may be read and written: regular files, because a named pipe blocks and a device may never end; and new
files, unless the user allows to overwrite."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from e3frame.spec.errors import UserError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def require_regular(path: str | Path) -> None:
    """Raise OSError, with the path and the reason, if there is no regular file."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file to read its bytes; errors as of :func:`require_regular`."""
    require_regular(path)
    return open(path, "rb")


def read_regular(path: str | Path) -> bytes:
    """Read the bytes of a file; errors as of :func:`require_regular`."""
    with open_regular(path) as file:
        return file.read()


def require_new(path: Path, overwrite: bool = False, hint: str = "overwrite=true") -> None:
    """Check, before any work, that a file can be written where the user wants it.

    Args:
        overwrite: the user allows to replace an existing file.
        hint: how to allow that.

    Raises:
        UserError: the path exists, or its folder does not.
    """
    try:
        if not path.parent.is_dir():
            raise UserError(f"{path}: there is no folder {path.parent}")
        mode = path.lstat().st_mode
        if not path.is_symlink() or path.exists():
            require_regular(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{path}\n  {error.strerror}\n  choose another name for the file to write") from None
    if not overwrite:
        kind = "exists" if stat.S_ISREG(mode) else "exists, as a link"
        raise UserError(f"{path} {kind}\n  choose another name, or {hint} to replace it")


def with_home(path: str | Path) -> Path:
    """The path with its ``~`` filled in; unchanged if there is no such user."""
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError):  # no such user, or a name that is not valid
        return Path(path)

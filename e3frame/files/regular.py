"""Which paths are read and written: files alone, because a named pipe would wait for ever and a device may never end;
and nothing that is there already, unless the user says so."""

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


def require_new(path: Path, overwrite: bool = False, hint: str = "overwrite=true") -> None:
    """That a file can be written to where the user asked for it, before there is any work.

    Args:
        overwrite: the user says that what is there may be replaced.
        hint: how to say so.

    Raises:
        UserError: there is something already, or no folder to hold it.
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
        kind = "exists already" if stat.S_ISREG(mode) else "exists already, as a link"
        raise UserError(f"{path} {kind}\n  choose another name, or {hint} to replace it")


def with_home(path: str | Path) -> Path:
    """A path with its ``~`` filled in; as it is where nobody has that name, and so no file."""
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError):  # no such user, or a name that no file can have
        return Path(path)

"""The folder of a run: the files that a run writes there, and its lock."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from e3frame.files.checkpoints import is_checkpoint
from e3frame.files.parts import unfinished
from e3frame.files.regular import read_regular, require_regular
from e3frame.spec.errors import UserError

FILES = ("config.yaml", "data.json", "metrics.csv", "metrics.json", "model.safetensors", "report.html")
FIGURES = ("learning_curve.png", "parity_*.png")
LOCK = ".e3frame.lock"
_HOLDER = re.compile(r"process \d+ on \S+ since [\d :-]+\n?")


def results(folder: Path) -> list[str]:
    """Return the names in a folder that a run may have written.

    Raises:
        UserError: one of them is not a file, so that no run can have written it.
    """
    with readable(folder):
        if not folder.is_dir():
            if folder.exists() or folder.is_symlink():
                raise UserError(f"{folder} is not a folder\n  choose another folder for the run")
            return []
        names = [name for name in FILES if (folder / name).exists()]
        names += sorted(path.name for pattern in FIGURES for path in folder.glob(pattern))
        for name in names:
            require_regular(folder / name)
        if (checkpoints := folder / "checkpoints").exists():
            if not checkpoints.is_dir():
                raise UserError(
                    f"{checkpoints} is not a folder\n  choose another folder for the run, or rename this file"
                )
            names.append(checkpoints.name)
    return names


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Raise what the operating system refuses as a UserError."""
    try:
        yield
    except OSError as error:
        place = Path(os.fsdecode(error.filename or folder))
        shown = folder / place.name if place.parent.name == folder.name else folder
        raise UserError(f"{shown}\n  {error.strerror or error}\n  choose another folder for the run") from None


def make_writable(folder: Path) -> None:
    """Make the folder, and remove files that killed sessions of this run left half-written.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{uuid4().hex}"
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from None
    left = [part for name, part in unfinished(folder) if _is_own(name)]
    left += [part for name, part in unfinished(folder / "checkpoints") if is_checkpoint(name)]
    for part in left:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _is_own(name: str) -> bool:
    return name in FILES or any(Path(name).match(pattern) for pattern in FIGURES)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time write into an existing folder.

    The lock ends with the process, however that ends. It holds among all machines that share the folder, if their file
    system supports locks. Its file names the process that holds it.

    Raises:
        UserError: another process holds the lock.
    """
    opened = None
    while opened is None:
        opened = _lock(folder / LOCK)
    try:
        own = _sign(opened)
        yield
        if own:
            with suppress(OSError):
                (folder / LOCK).unlink()
    finally:
        os.close(opened)


def _lock(path: Path) -> int | None:
    """Return the open file of a lock; None if the process that held it has just removed it."""
    try:
        opened = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | os.O_NONBLOCK, 0o644)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
    try:
        import fcntl

        # A lock of the process: the processes that it forks do not keep it when this one has ended.
        fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(opened)
        raise UserError(_held(path)) from None
    except (ImportError, OSError):  # not POSIX, or the file system has no locks
        return opened
    if path.exists() and os.path.samestat(os.fstat(opened), path.stat()):
        return opened
    os.close(opened)
    return None


def _sign(opened: int) -> bool:
    """Write the holder of the lock into its file and return True, unless another program has written the file."""
    text = os.pread(opened, 200, 0).decode(errors="replace")
    if text and not _HOLDER.fullmatch(text):
        return False
    os.ftruncate(opened, 0)
    began = time.strftime("%Y-%m-%d %H:%M:%S")
    os.pwrite(opened, f"process {os.getpid()} on {socket.gethostname()} since {began}\n".encode(), 0)
    return True


def _held(path: Path) -> str:
    text = ""
    with suppress(OSError):
        text = read_regular(path)[:200].decode(errors="replace")
    by = text.strip() if _HOLDER.fullmatch(text) else "another process"
    return f"{path.parent}: {by} is training in this folder\n  wait until it ends, or choose another folder"

"""Names of files that are being written. They contain the process id: the remains of a killed process differ from a
file that another one still writes, here or on another machine that shares the folder."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from uuid import uuid4

_PART = re.compile(r"(?P<name>.+)\.(?P<here>[0-9a-f]{12})-(?P<pid>\d{1,10})-[0-9a-f]+\.part")
_LONGEST = 150
"""Bytes of the final name that the name of a part keeps: file systems allow 255 in all."""


def part_of(path: Path) -> Path:
    """Return a new name, under which to write what will become ``path``."""
    return path.with_name(f"{_shortened(path.name)}.{_here()}-{os.getpid()}-{uuid4().hex}.part")


def unfinished(folder: Path, *, folders: bool = False) -> Iterator[tuple[str, Path]]:
    """Find the parts in a folder that processes of this machine left when they were killed.

    Args:
        folder: where to look.
        folders: find folders, not files.

    Yields:
        The final name and the path of each part.
    """
    is_kind = Path.is_dir if folders else Path.is_file
    with suppress(OSError):  # a folder that may not be listed
        for part in sorted(folder.iterdir()):
            found = _PART.fullmatch(part.name)
            if found and found["here"] == _here() and _is_gone(int(found["pid"])) and is_kind(part):
                yield found["name"], part


def clear_parts(path: Path) -> None:
    """Remove parts with the stem of ``path`` whose process is gone; those of other machines stay."""
    for name, part in unfinished(path.parent):
        if name == _shortened(path.name) or name.startswith((f"{path.stem}.", f"{path.stem}-")):
            with suppress(OSError):  # owned by another user
                part.unlink(missing_ok=True)


def _shortened(name: str) -> str:
    return os.fsencode(name)[:_LONGEST].decode(errors="ignore")


@cache
def _here() -> str:
    """A digest shared by processes that see each other's numbers: those of one machine, and there of one container.

    The host name alone is not enough: several machines may have the same.
    """
    known = [socket.gethostname()]
    with suppress(OSError):
        known.append(Path("/etc/machine-id").read_text(encoding="utf-8"))
    with suppress(OSError):
        known.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.blake2b("\n".join(known).encode(), digest_size=6).hexdigest()


def _is_gone(pid: int) -> bool:
    if os.name != "posix":  # elsewhere every signal has an effect
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # a process of another user; not the number of a process
        return False
    return False

"""Names of files that are being written. They say by which process, so that what a killed one left can be told from
what another one, here or on another machine that shares the folder, still writes."""

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
"""Bytes of a name that a part has of it: file systems allow 255 in all."""


def part_of(path: Path) -> Path:
    """Return a new name, to write what is to become ``path``."""
    return path.with_name(f"{_shortened(path.name)}.{_here()}-{os.getpid()}-{uuid4().hex}.part")


def unfinished(folder: Path, *, folders: bool = False) -> Iterator[tuple[str, Path]]:
    """Find what processes of this machine that are gone have left half written in a folder.

    Args:
        folder: where to look.
        folders: look for folders, not for files.

    Yields:
        The name that each was to get, and its path.
    """
    is_kind = Path.is_dir if folders else Path.is_file
    with suppress(OSError):  # a folder that is not ours to look into
        for part in sorted(folder.iterdir()):
            found = _PART.fullmatch(part.name)
            if found and found["here"] == _here() and _is_gone(int(found["pid"])) and is_kind(part):
                yield found["name"], part


def clear_parts(path: Path) -> None:
    """Remove unfinished files of this stem whose process is gone; those of which nobody here can know that stay."""
    for name, part in unfinished(path.parent):
        if name == _shortened(path.name) or name.startswith((f"{path.stem}.", f"{path.stem}-")):
            with suppress(OSError):  # not ours to change
                part.unlink(missing_ok=True)


def _shortened(name: str) -> str:
    return os.fsencode(name)[:_LONGEST].decode(errors="ignore")


@cache
def _here() -> str:
    """The same for processes that see each other's numbers: those of one machine, and there of one container. Names of
    machines alone may be the same."""
    known = [socket.gethostname()]
    with suppress(OSError):
        known.append(Path("/etc/machine-id").read_text(encoding="utf-8"))
    with suppress(OSError):
        known.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.blake2b("\n".join(known).encode(), digest_size=6).hexdigest()


def _is_gone(pid: int) -> bool:
    if os.name != "posix":  # elsewhere there is no signal that only asks
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # of another user; no number of a process
        return False
    return False

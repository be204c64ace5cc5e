"""Files that are being written. Their names say by which process, so that what a killed one left can be told from what
another one, here or on another machine that shares the folder, still writes."""

from __future__ import annotations

import hashlib
import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path
from uuid import uuid4


def part_of(path: Path) -> Path:
    """A new name, to write what is to become ``path``."""
    return path.with_name(f"{path.name}.{_here()}-{os.getpid()}-{uuid4().hex}.part")


def clear_parts(path: Path) -> None:
    """Remove unfinished files of this stem whose process is gone; those of which nobody here can know that stay."""
    with suppress(OSError):  # a folder, or a file in it, that is not ours to change
        for part in path.parent.glob(f"{path.stem}[.-]*.part"):
            here, _, rest = part.name.split(".")[-2].partition("-")
            pid = rest.partition("-")[0]
            if here == _here() and pid.isdecimal() and _is_gone(int(pid)):
                part.unlink(missing_ok=True)


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
    except OSError:  # of another user
        return False
    return False

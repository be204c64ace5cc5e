"""The data files of a run: their digests are kept in its folder, so that a changed file is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e3frame.files.written import write_file
from e3frame.spec.errors import DataError, UserError

if TYPE_CHECKING:
    from e3frame.config.run import RunConfig

NAME = "data.json"
LARGE = 1 << 30
"""Size in bytes from which a file is not read again if its size and modification time are the same."""
NAMED = 3
"""Number of changed files that a message names."""


def record(folder: Path, config: RunConfig) -> None:
    """Write the digests of the data files of a run into its folder, if the run has data files."""
    held = {file: _contents(Path(file)) for file in config.data.files_read()}
    if not held:
        return
    write_file(folder / NAME, (json.dumps(held, indent=2, ensure_ascii=False) + "\n").encode())


def require_same_data(folder: Path, config: RunConfig) -> None:
    """Raise UserError if the data files have changed since the run in ``folder`` began."""
    try:
        held = dict(json.loads((folder / NAME).read_text(encoding="utf-8")).items())
        now = set(config.data.files_read())
        changed = [*_missing(held, now), *_new(held, now), *_changed(held, now)]
    except FileNotFoundError:  # written by an earlier version
        return
    except DataError:  # the files cannot be read: loading them gives the better message
        return
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        raise UserError(f"{folder / NAME} is damaged\n  to start a new run: train folder=NEW") from None
    if changed:
        more = [f"and {len(changed) - NAMED} more"] if len(changed) > NAMED else []
        lines = "\n".join(f"  {line}" for line in [*changed[:NAMED], *more])
        hint = "to start a new run with the changed data: train folder=NEW; to continue this one, restore the files"
        raise UserError(f"{folder}: the data of this run have changed\n{lines}\n  {hint}")


def learned_from(folder: Path, files: Sequence[str]) -> list[str]:
    """Return the files whose content is that of a data file of the run in ``folder``, if it is the folder of a run."""
    try:
        held = json.loads((folder / NAME).read_text(encoding="utf-8")).values()
        return [file for file in files if any(_is(Path(file), each) for each in held)]
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return []


def _is(file: Path, held: dict[str, Any]) -> bool:
    return file.stat().st_size == held["bytes"] and _digest(file) == held["blake2b"]


def _missing(held: dict[str, Any], now: set[str]) -> list[str]:
    return [f"{file} has been removed" for file in held if file not in now]


def _new(held: dict[str, Any], now: set[str]) -> list[str]:
    return [f"{file} was added after the run began" for file in sorted(now) if file not in held]


def _changed(held: dict[str, Any], now: set[str]) -> list[str]:
    return [f"{file} has changed" for file in held if file in now and not _same(Path(file), held[file])]


def _same(file: Path, held: dict[str, Any]) -> bool:
    """Whether the content is the same. It is not read if the size differs, or if a large file was not modified."""
    found = file.stat()
    if found.st_size != held["bytes"]:
        return False
    if found.st_size >= LARGE and found.st_mtime_ns == held["modified"]:
        return True
    return _digest(file) == held["blake2b"]


def _contents(file: Path) -> dict[str, Any]:
    found = file.stat()
    return {"bytes": found.st_size, "modified": found.st_mtime_ns, "blake2b": _digest(file)}


def _digest(file: Path) -> str:
    with file.open("rb") as raw:
        return hashlib.file_digest(raw, "blake2b").hexdigest()

"""Which data files a run was trained on: their digests, kept in its folder, so that a changed file is noticed."""

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
"""Bytes from which a file with the same size and time of change is not read again."""
NAMED = 3


def record(folder: Path, config: RunConfig) -> None:
    """Write the digests of the data files of a run, if it has any, into its folder."""
    held = {file: _contents(Path(file)) for file in config.data.files_read()}
    if not held:
        return
    write_file(folder / NAME, (json.dumps(held, indent=2, ensure_ascii=False) + "\n").encode())


def require_same_data(folder: Path, config: RunConfig) -> None:
    """Raise UserError where the data files are other than when the run in ``folder`` began, with their names."""
    try:
        held = dict(json.loads((folder / NAME).read_text(encoding="utf-8")).items())
        now = set(config.data.files_read())
        changed = [*_missing(held, now), *_new(held, now), *_changed(held, now)]
    except FileNotFoundError:  # written by an earlier version
        return
    except DataError:  # the files cannot be read: loading them says more
        return
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        raise UserError(f"{folder / NAME} is damaged\n  train folder=NEW starts a new run") from None
    if changed:
        more = [f"and {len(changed) - NAMED} more"] if len(changed) > NAMED else []
        lines = "\n".join(f"  {line}" for line in [*changed[:NAMED], *more])
        hint = "train folder=NEW starts a new run with the data of now; or put the files back to go on"
        raise UserError(f"{folder}: the data of this run have changed\n{lines}\n  {hint}")


def learned_from(folder: Path, files: Sequence[str]) -> list[str]:
    """Those of the files whose content is that of a data file of the run in ``folder``, if that is a run's."""
    try:
        held = json.loads((folder / NAME).read_text(encoding="utf-8")).values()
        return [file for file in files if any(_is(Path(file), each) for each in held)]
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return []


def _is(file: Path, held: dict[str, Any]) -> bool:
    return file.stat().st_size == held["bytes"] and _digest(file) == held["blake2b"]


def _missing(held: dict[str, Any], now: set[str]) -> list[str]:
    return [f"{file} is no longer among the files" for file in held if file not in now]


def _new(held: dict[str, Any], now: set[str]) -> list[str]:
    return [f"{file} was not there when the run began" for file in sorted(now) if file not in held]


def _changed(held: dict[str, Any], now: set[str]) -> list[str]:
    return [f"{file} has changed" for file in held if file in now and not _same(Path(file), held[file])]


def _same(file: Path, held: dict[str, Any]) -> bool:
    """Whether the content is the same; it is read unless the size tells, or a large file was not touched since."""
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

"""Paths of trained models: a file, the folder of a run, or the newest run of a name."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path

from e3frame.spec.base import shown
from e3frame.spec.errors import FileError, nearest

MODEL = "model.safetensors"
GRID = "multirun.yaml"
"""File that Hydra writes into the folder of a multirun; no run in it takes precedence."""
_OF_A_RUN = ("config.yaml", MODEL)
_DATE = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")


def model_path(path: str | Path) -> Path:
    """Return the file of a model.

    Args:
        path: the file, the folder of a run, or ``runs/<name>``, which means the newest run of that name.

    Raises:
        FileError: there is no model.
    """
    path = _expanded(path)
    if not _is_folder(path):
        return path
    folder = run_folder(path)
    if (folder / MODEL).exists():
        return folder / MODEL
    newest = "the newest run, " if folder != path else ""
    earlier = [run / MODEL for run in _runs(path) if (run / MODEL).exists()] if newest else []
    hint = f"an earlier run has one: {earlier[-1]}" if earlier else "it is written when the training ends"
    raise FileError(folder, f"{newest}has no {MODEL} yet".lstrip(), hint)


def run_folder(path: str | Path) -> Path:
    """Return the folder of a run.

    Args:
        path: the folder, or ``runs/<name>``, which means the newest run of that name.

    Raises:
        FileError: there is no run.
    """
    path = _expanded(path)
    if not _is_folder(path):
        raise FileError(path, "is a file; give the folder of a run", _hint_of_folder(path))
    if _is_run(path):
        return path
    runs = _runs(path)
    if (path / GRID).exists() and runs:
        hint = f"choose one of them: {', '.join(str(run) for run in runs[:8])}"
        raise FileError(path, f"a grid of {len(runs)} runs", hint)
    if not runs:
        inside = sorted({str(file.parent.parent) for file in path.glob("*/*/config.yaml")})
        raise FileError(path, "this folder contains no run", f"runs there: {', '.join(inside[:8])}" if inside else None)
    return runs[-1]


def _expanded(path: str | Path) -> Path:
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise FileError(shown(path), "the name of a file or folder is required")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise FileError(path, "no such user") from None


def _is_folder(path: Path) -> bool:
    """Whether the path is a folder.

    Raises:
        FileError: the path does not exist, or cannot be read.
    """
    try:
        path.stat()
        return path.is_dir()
    except FileNotFoundError:
        if path.is_symlink():
            raise FileError(path, f"a broken link: {os.readlink(path)} does not exist") from None
        raise FileError(path, "no such file", _alike(path)) from None
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise FileError(path, "not a valid file name") from None


def _alike(path: Path) -> str | None:
    try:
        match = nearest(path.name, [other.name for other in path.parent.iterdir()])
    except OSError:
        return None
    return None if match is None else f"did you mean {path.parent / match}?"


def _hint_of_folder(path: Path) -> str | None:
    return f"did you mean {path.parent}?" if _is_run(path.parent) else None


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in _OF_A_RUN)


def _runs(folder: Path) -> list[Path]:
    """Return the runs in a folder, the newest last."""
    return sorted((inner for inner in folder.iterdir() if inner.is_dir() and _is_run(inner)), key=_began)


def _began(run: Path) -> tuple[str, str]:
    """Return the start time of a run, from its folder name, or from its files if the user named the folder."""
    if _DATE.fullmatch(run.name):
        return run.name, run.name
    files = [run / name for name in _OF_A_RUN if (run / name).exists()]
    written = datetime.fromtimestamp(min(file.stat().st_mtime for file in files))
    return written.strftime("%Y-%m-%d_%H-%M-%S"), run.name

"""Checkpoints of a run: files of one folder, named by the step after which they were saved."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"step-(\d{9,})\.ckpt")


def checkpoint_file(folder: Path, step: int) -> Path:
    """The checkpoint of a step in the folder of a run's checkpoints."""
    return folder / f"step-{step:09d}.ckpt"


def is_checkpoint(name: str) -> bool:
    """Whether a file of this name is a checkpoint."""
    return _NAME.fullmatch(name) is not None


def checkpoint_files(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, sorted by step; other files are ignored."""
    found = [path for path in folder.iterdir() if is_checkpoint(path.name)] if folder.is_dir() else []
    return sorted((path for path in found if path.is_file()), key=step_of)


def step_of(path: Path) -> int:
    """The step of a checkpoint, read from its name."""
    return int(path.stem.removeprefix("step-"))

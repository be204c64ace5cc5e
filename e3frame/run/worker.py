"""``python -m e3frame.run.worker FOLDER CHECKPOINT [PLUGIN ...]``: a further process of a training run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from e3frame.config.run import typed_run
from e3frame.files.yaml_file import read_yaml
from e3frame.run.fitting import train
from e3frame.run.frames import load_splits
from e3frame.run.peers import MISTAKE
from e3frame.run.settings import settings
from e3frame.spec.errors import UserError
from e3frame.training.checkpoint import read_checkpoint
from e3frame.training.session import Session


def main(folder: str, checkpoint: str = "", *plugins: str) -> int:
    """Train together with the first process, which alone prints, writes and evaluates.

    Args:
        folder: folder of the run.
        checkpoint: the checkpoint to continue from; empty: the run begins.
        plugins: modules that the first process has imported.
    """
    try:
        _train(Path(folder), Path(checkpoint) if checkpoint else None, plugins)
    except UserError as error:
        print(error, file=sys.stderr)
        return MISTAKE
    return 0


def _train(folder: Path, checkpoint: Path | None, plugins: Sequence[str]) -> None:
    typed = typed_run(read_yaml(folder / "config.yaml").with_plugins(plugins))
    start = None if checkpoint is None else read_checkpoint(checkpoint)
    with settings(typed.config):
        train(Session(typed, folder, Console(quiet=True), start), load_splits(typed))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

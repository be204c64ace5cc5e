"""``python -m e3frame.run.worker FOLDER CHECKPOINT [PLUGIN ...]``: one more process of a training."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.console import Console

from e3frame.config.run import RunConfig
from e3frame.data.pipeline.loader import load
from e3frame.run.training import settings, train
from e3frame.spec.errors import UserError
from e3frame.spec.validate import validate
from e3frame.training.checkpoint import read_checkpoint
from e3frame.training.peers import MISTAKE


def main(folder: str, checkpoint: str = "", *plugins: str) -> int:
    """Train along; what there is to say, to write and to evaluate is the first process's.

    Args:
        folder: of the run.
        checkpoint: to go on from, if there is one.
        plugins: that the first process has imported.
    """
    try:
        _train(Path(folder), Path(checkpoint) if checkpoint else None, plugins)
    except UserError as error:
        print(error, file=sys.stderr)
        return MISTAKE
    return 0


def _train(folder: Path, checkpoint: Path | None, plugins: Sequence[str]) -> None:
    raw = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    config = validate(RunConfig, raw, plugins=plugins)
    start = None if checkpoint is None else read_checkpoint(checkpoint)
    with settings(config):
        splits = load(config.data, config.model.r_max, config.asked_of_frames)
        train(config, config.typed().transfer, splits, folder, Console(quiet=True), start)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

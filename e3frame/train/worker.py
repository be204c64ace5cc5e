"""``python -m e3frame.train.worker FOLDER CHECKPOINT [PLUGIN ...]``: one more process of a training."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml
from rich.console import Console

from e3frame.config import RunConfig
from e3frame.spec.errors import UserError
from e3frame.spec.validate import validate
from e3frame.train.checkpoint import read_checkpoint
from e3frame.train.run import settings, train


def main(folder: str, checkpoint: str = "", *plugins: str) -> int:
    """Train along; what there is to say, to write and to evaluate is the first process's.

    Args:
        folder: of the run.
        checkpoint: to go on from, if there is one.
        plugins: that the first process has imported.
    """
    raw = yaml.safe_load((Path(folder) / "config.yaml").read_text(encoding="utf-8"))
    config = validate(RunConfig, raw, plugins=plugins)
    start = read_checkpoint(Path(checkpoint)) if checkpoint else None
    with settings(config):
        splits = config.data.load(config.model.r_max, config.asked_of_frames)
        try:
            train(config, config.typed().transfer, splits, Path(folder), Console(quiet=True), start)
        except UserError:
            return 0  # the first process says the same
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

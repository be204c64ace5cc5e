"""``tensorboard``: TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from e3frame.config.loggers.base import LoggerSpec

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


class TensorBoardSpec(LoggerSpec):
    """Event files for TensorBoard, in ``tensorboard/`` of the run folder."""

    kind: Literal["tensorboard"] = "tensorboard"
    packages = ("tensorboard", "tensorboardX")

    def build(self, folder: Path, step: int = 0) -> Logger:
        from lightning.pytorch.loggers import TensorBoardLogger

        return TensorBoardLogger(folder, name="tensorboard", version="", purge_step=step or None)

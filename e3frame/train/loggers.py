"""Where metrics go besides ``metrics.csv``, which every run writes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import field_validator

from e3frame.spec.base import mistake
from e3frame.spec.registry import Kinded

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


class LoggerSpec(Kinded, family="logger"):
    """A tool that shows the course of a run."""

    def build(self, folder: Path, step: int = 0) -> Logger | None:
        """The logger of a run, None where ``metrics.csv`` is enough.

        Args:
            folder: of the run.
            step: where it goes on; what an earlier session logged later than that no longer counts.
        """
        raise NotImplementedError(f"{type(self).__name__}.build")


class CsvSpec(LoggerSpec):
    """Nothing besides ``metrics.csv``."""

    kind: Literal["csv"] = "csv"

    def build(self, folder: Path, step: int = 0) -> None:
        return None


class TensorBoardSpec(LoggerSpec):
    """Event files for TensorBoard, in ``tensorboard/`` of the run folder."""

    kind: Literal["tensorboard"] = "tensorboard"

    @field_validator("kind")
    @classmethod
    def _installed(cls, kind: str) -> str:
        if find_spec("tensorboard") is None and find_spec("tensorboardX") is None:
            raise mistake("the package tensorboard is not installed", "pip install tensorboard, or logger=csv")
        return kind

    def build(self, folder: Path, step: int = 0) -> Logger:
        from lightning.pytorch.loggers import TensorBoardLogger

        return TensorBoardLogger(folder, name="tensorboard", version="", purge_step=step or None)

"""Where metrics go besides ``metrics.csv``, which every run writes."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal
from urllib.error import HTTPError
from urllib.request import urlopen

from pydantic import model_validator

from e3frame.spec.base import mistake, mistake_at
from e3frame.spec.errors import UserError
from e3frame.spec.registry import Kinded

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


_ANSWER = 10.0
"""Seconds that a server has to answer."""


class LoggerSpec(Kinded, family="logger"):
    """A tool that shows the course of a run."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Packages of which one is needed."""

    @model_validator(mode="after")
    def _installed(self) -> LoggerSpec:
        if self.packages and all(find_spec(package) is None for package in self.packages):
            package = self.packages[0]
            wrong = mistake(f"the package {package} is not installed", f"pip install {package}, or logger=csv")
            raise mistake_at("kind", package, wrong)
        return self

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
    packages = ("tensorboard", "tensorboardX")

    def build(self, folder: Path, step: int = 0) -> Logger:
        from lightning.pytorch.loggers import TensorBoardLogger

        return TensorBoardLogger(folder, name="tensorboard", version="", purge_step=step or None)


class WandbSpec(LoggerSpec):
    """Weights & Biases; a run that goes on is one run there."""

    kind: Literal["wandb"] = "wandb"
    packages = ("wandb",)
    project: str = "e3frame"
    """Project of the run."""
    entity: str | None = None
    """Team or user; null: that of the login."""
    offline: bool = False
    """Keep everything in the run folder, for ``wandb sync``."""

    def build(self, folder: Path, step: int = 0) -> Logger:
        from lightning.pytorch.loggers import WandbLogger

        own = hashlib.blake2b(str(folder.resolve()).encode(), digest_size=8).hexdigest()
        settings = {"project": self.project, "entity": self.entity, "offline": self.offline}
        return WandbLogger(folder.name, folder, id=own, resume="allow", **settings)


class MlflowSpec(LoggerSpec):
    """MLflow; a run that goes on is one run there."""

    kind: Literal["mlflow"] = "mlflow"
    packages = ("mlflow",)
    experiment: str = "e3frame"
    """Experiment of the run."""
    tracking_uri: str | None = None
    """Server or database, such as sqlite:///runs/mlflow.db for many runs; null: $MLFLOW_TRACKING_URI, else
    ``mlflow.db`` of the run folder."""

    def build(self, folder: Path, step: int = 0) -> Logger:
        from lightning.pytorch.loggers import MLFlowLogger
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        from e3frame.files.written import write_file

        uri = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.resolve()}/mlflow.db"
        known = folder / "mlflow_run"
        earlier = known.read_text(encoding="utf-8") if known.exists() else None
        try:
            _require_answer(uri)
            logger = MLFlowLogger(self.experiment, folder.name, uri, run_id=earlier)
            found = logger.run_id  # begins the run, or finds the earlier one
        except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
            raise UserError(f"MLflow cannot use {uri}\n  {_first_line(error)}") from None
        if earlier is None and found is not None:
            write_file(known, found.encode())
        return logger


def _require_answer(uri: str) -> None:
    """Raise what is wrong with a server or a database. MLflow itself would try again for minutes, without a word."""
    from sqlalchemy import create_engine

    scheme = uri.partition("://")[0]
    if scheme in ("http", "https"):
        with suppress(HTTPError):  # whatever it says, it answers
            urlopen(f"{uri.rstrip('/')}/health", timeout=_ANSWER).close()
    elif scheme.partition("+")[0] in ("sqlite", "postgresql", "mysql", "mssql"):
        create_engine(uri).connect().close()


def _first_line(error: Exception) -> str:
    """What is wrong, without the advice and the links that follow."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0].split(". ")[0]

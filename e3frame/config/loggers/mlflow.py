"""``mlflow``: MLflow."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.error import HTTPError
from urllib.request import urlopen

from e3frame.config.loggers.base import LoggerSpec
from e3frame.spec.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

_ANSWER = 10.0
"""Seconds to wait for a server's answer."""


class MlflowSpec(LoggerSpec):
    """MLflow. A resumed run continues the same run there."""

    kind: Literal["mlflow"] = "mlflow"
    packages = ("mlflow",)
    experiment: str = "e3frame"
    """Experiment of the run."""
    tracking_uri: str | None = None
    """Server or database (sqlite:///runs/mlflow.db collects many runs); null: $MLFLOW_TRACKING_URI if set, else
    ``mlflow.db`` in the run folder."""

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
            found = logger.run_id  # starts the run, or finds the earlier one
        except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
            raise UserError(f"MLflow cannot use {uri}\n  {_first_line(error)}") from None
        if earlier is None and found is not None:
            write_file(known, found.encode())
        return logger


def _require_answer(uri: str) -> None:
    """Raise at once if the server or database cannot be used; MLflow itself retries silently for minutes."""
    from sqlalchemy import create_engine

    scheme = uri.partition("://")[0]
    if scheme in ("http", "https"):
        with suppress(HTTPError):  # an error is an answer, too
            urlopen(f"{uri.rstrip('/')}/health", timeout=_ANSWER).close()
    elif scheme.partition("+")[0] in ("sqlite", "postgresql", "mysql", "mssql"):
        create_engine(uri).connect().close()


def _first_line(error: Exception) -> str:
    """Return the first line of an error, without the advice and links after it."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0].split(". ")[0]

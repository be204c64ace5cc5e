"""Tools that show the progress of a run, besides ``metrics.csv``: one file for each kind."""

from __future__ import annotations

from e3frame.config.loggers.base import LoggerSpec
from e3frame.spec.registry import import_all

__all__ = ["LoggerSpec"]

import_all(__name__, __path__)

"""``csv``: no other tool."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from e3frame.config.loggers.base import LoggerSpec


class CsvSpec(LoggerSpec):
    """No logger other than ``metrics.csv``."""

    kind: Literal["csv"] = "csv"

    def build(self, folder: Path, step: int = 0) -> None:
        return None

"""Findings of checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        check: name of the check.
        level: ``ok``; ``note`` if the frames do not show it; ``warning``; ``error`` if training is pointless.
        text: result of the check.
        hint: what to do about it.
    """

    check: str
    level: Level
    text: str
    hint: str | None = None

"""Findings of checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        check: what was looked at.
        level: ``ok``; ``note`` if it could not be judged; ``warning``; ``error`` if training would be pointless.
        text: what was found.
        hint: what would mend it.
    """

    check: str
    level: Level
    text: str
    hint: str | None = None

"""Learning rate schedules, as specs: one file for each kind."""

from __future__ import annotations

from e3frame.config.schedulers.base import SchedulerSpec
from e3frame.spec.registry import import_all

__all__ = ["SchedulerSpec"]

import_all(__name__, __path__)

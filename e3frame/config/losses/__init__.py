"""Losses of targets, as specs: one file for each kind."""

from __future__ import annotations

from e3frame.config.losses.base import LossSpec
from e3frame.spec.registry import import_all

__all__ = ["LossSpec"]

import_all(__name__, __path__)

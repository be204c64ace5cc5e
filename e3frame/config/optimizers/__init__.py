"""Optimizers, as specs: one file for each kind."""

from __future__ import annotations

from e3frame.config.optimizers.base import Groups, OptimizerSpec
from e3frame.spec.registry import import_all

__all__ = ["Groups", "OptimizerSpec"]

import_all(__name__, __path__)

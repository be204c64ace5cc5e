"""``one_cycle``: up and down once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from e3frame.config.schedulers.base import SchedulerSpec, each_step

if TYPE_CHECKING:
    from torch.optim import Optimizer


class OneCycleSpec(SchedulerSpec):
    """One cycle: the learning rate rises and falls over the whole run, each along half a cosine (Smith and Topin 2018,
    arXiv 1708.07120). The momentum does not change."""

    kind: Literal["one_cycle"] = "one_cycle"
    rise: float = Field(default=0.3, gt=0, lt=1)
    """Fraction of the run over which the learning rate rises."""
    start_factor: float = Field(default=0.04, gt=0, le=1)
    """Learning rate at the start, as a fraction of the highest."""
    end_factor: float = Field(default=1e-4, ge=0, le=1)
    """Learning rate at the end, as a fraction of the highest."""

    def build(self, optimizer: Optimizer, progress: Callable[[], float]) -> list[dict[str, Any]]:
        def factor(step: int) -> float:
            done = progress()
            rising = done < self.rise
            low = self.start_factor if rising else self.end_factor
            part = done / self.rise if rising else (1 - done) / (1 - self.rise)
            return low + (1 - low) * 0.5 * (1 - math.cos(math.pi * part))

        return [each_step(optimizer, factor)]

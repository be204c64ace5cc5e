"""``cosine``: half a cosine."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from e3frame.config.schedulers.base import SchedulerSpec, each_step, warmed

if TYPE_CHECKING:
    from torch.optim import Optimizer


class CosineSpec(SchedulerSpec):
    """Half a cosine from the learning rate to ``min_lr`` over the whole run (Loshchilov and Hutter 2017)."""

    kind: Literal["cosine"] = "cosine"
    warmup_steps: int = Field(default=0, ge=0)
    """Steps at the start over which the learning rate rises linearly from 0."""
    min_lr: float = Field(default=0.0, ge=0)
    """Learning rate at the end."""

    @property
    def lowest_lr(self) -> float:
        return self.min_lr

    def build(self, optimizer: Optimizer, progress: Callable[[], float]) -> list[dict[str, Any]]:
        low = self.min_lr / optimizer.param_groups[0]["lr"]

        def factor(step: int) -> float:
            return warmed(step, self.warmup_steps) * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress())))

        return [each_step(optimizer, factor)]

"""``warmup_stable_decay``: up, constant, and down at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from e3frame.config.schedulers.base import SchedulerSpec, each_step
from e3frame.spec.base import mistake, mistake_at

if TYPE_CHECKING:
    from torch.optim import Optimizer


class WarmupStableDecaySpec(SchedulerSpec):
    """The learning rate rises linearly, stays at its highest, and falls linearly (Hu et al. 2024, arXiv 2404.06395)."""

    kind: Literal["warmup_stable_decay"] = "warmup_stable_decay"
    warmup: float = Field(default=0.02, ge=0, lt=1)
    """Fraction of the run over which the learning rate rises from 0."""
    decay: float = Field(default=0.4, gt=0, le=1)
    """Fraction of the run over which the learning rate falls at the end."""
    end_factor: float = Field(default=0.0, ge=0, lt=1)
    """Learning rate at the end, as a fraction of the highest."""

    @model_validator(mode="after")
    def _within_the_run(self) -> WarmupStableDecaySpec:
        if self.warmup + self.decay > 1:
            problem = f"warmup and decay are fractions of one run, {self.warmup:g} + {self.decay:g} is more than 1"
            raise mistake_at("decay", self.decay, mistake(problem, f"give at most {1 - self.warmup:g}"))
        return self

    def build(self, optimizer: Optimizer, progress: Callable[[], float]) -> list[dict[str, Any]]:
        smallest = 1e-3  # the first step is one, too

        def factor(step: int) -> float:
            done = progress()
            if done < self.warmup:
                return max(smallest, done / self.warmup)
            left = min(1.0, (1 - done) / self.decay)
            return self.end_factor + (1 - self.end_factor) * left

        return [each_step(optimizer, factor)]

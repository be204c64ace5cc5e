"""``constant``: no schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from e3frame.config.schedulers.base import SchedulerSpec, each_step, warmed

if TYPE_CHECKING:
    from torch.optim import Optimizer


class ConstantSpec(SchedulerSpec):
    """Constant learning rate."""

    kind: Literal["constant"] = "constant"
    warmup_steps: int = Field(default=0, ge=0)
    """Steps at the start over which the learning rate rises linearly from 0."""

    @property
    def lowers(self) -> bool:
        return False

    def build(self, optimizer: Optimizer, progress: Callable[[], float]) -> list[dict[str, Any]]:
        return [each_step(optimizer, lambda step: warmed(step, self.warmup_steps))] if self.warmup_steps else []

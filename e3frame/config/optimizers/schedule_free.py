"""``schedule_free``: AdamW that averages its weights."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from e3frame.config.optimizers.base import Beta, Groups, OptimizerSpec, without_decay
from e3frame.spec.base import mistake

if TYPE_CHECKING:
    from torch.optim import Optimizer


class ScheduleFreeSpec(OptimizerSpec):
    """AdamW that averages its weights instead of using a schedule (Defazio et al. 2024, arXiv 2405.15682)."""

    kind: Literal["schedule_free"] = "schedule_free"
    averages = True
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Weight of the running average in the point where gradients are taken, and decay of the running mean of the
    squared gradient."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the denominator."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay: each step multiplies a weight by 1 - lr * weight_decay, except biases and norms."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps at the start over which the learning rate rises linearly from 0."""

    @field_validator("kind")
    @classmethod
    def _installed(cls, kind: str) -> str:
        if find_spec("schedulefree") is None:
            raise mistake("the package schedulefree is not installed", "pip install schedulefree")
        return kind

    def build(self, groups: Groups) -> Optimizer:
        from schedulefree import AdamWScheduleFree

        return AdamWScheduleFree(without_decay(groups), **self.model_dump(exclude={"kind"}))

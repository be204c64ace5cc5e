"""``adamw``: Adam with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from e3frame.config.optimizers.base import Beta, Groups, OptimizerSpec, without_decay
from e3frame.spec.errors import SpecError

if TYPE_CHECKING:
    from torch.optim import Optimizer


class AdamWSpec(OptimizerSpec):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101)."""

    kind: Literal["adamw"] = "adamw"
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the denominator."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Weight decay: each step multiplies a weight by 1 - lr * weight_decay."""
    decay_biases: bool = False
    """Apply weight decay also to biases and to the scales of norm layers."""
    amsgrad: bool = False
    """Never let the denominator shrink (Reddi et al. 2018, arXiv 1904.09237)."""

    def idle(self) -> Iterator[SpecError]:
        if self.decay_biases and not self.weight_decay:
            problem = "decay_biases has no effect, because weight_decay is 0"
            yield SpecError(("decay_biases",), problem, "remove decay_biases, or set weight_decay")

    def build(self, groups: Groups) -> Optimizer:
        from torch.optim import AdamW

        decayed = groups if self.decay_biases else without_decay(groups)
        return AdamW(decayed, **self.model_dump(exclude={"kind", "decay_biases"}), fused=True)

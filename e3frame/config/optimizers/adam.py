"""``adam``: Adam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from e3frame.config.optimizers.base import Beta, Groups, OptimizerSpec

if TYPE_CHECKING:
    from torch.optim import Optimizer


class AdamSpec(OptimizerSpec):
    """Adam (Kingma and Ba 2015, arXiv 1412.6980)."""

    kind: Literal["adam"] = "adam"
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the denominator."""
    weight_decay: float = Field(default=0.0, ge=0)
    """L2 penalty, added to the gradient."""
    amsgrad: bool = False
    """Never let the denominator shrink (Reddi et al. 2018, arXiv 1904.09237)."""

    def build(self, groups: Groups) -> Optimizer:
        from torch.optim import Adam

        return Adam(groups, **self.model_dump(exclude={"kind"}), fused=True)

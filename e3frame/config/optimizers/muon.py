"""``muon``: Muon for matrices, AdamW for all other weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from e3frame.config.optimizers.base import Beta, Groups, OptimizerSpec, matrices_and_others

if TYPE_CHECKING:
    from torch.optim import Optimizer


class MuonSpec(OptimizerSpec):
    """Muon for the matrices of linear maps, self-connections, products and MLPs, one for each path between irreps
    (Jordan et al. 2024); AdamW for all other weights."""

    kind: Literal["muon"] = "muon"
    momentum: Beta = 0.95
    """Decay of the running mean of a matrix's gradient."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the running means of AdamW."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the denominator of AdamW."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay: each step multiplies a weight by 1 - lr * weight_decay, except biases and norms."""

    def build(self, groups: Groups) -> Optimizer:
        from e3frame.nn.optim import Muon, WithAdamW

        matrices, others = matrices_and_others(groups, self.kind)
        muon = Muon(matrices, self.lr, self.momentum, self.weight_decay)
        return WithAdamW(muon, others, self.lr, self.betas, self.eps, self.weight_decay)

"""``muon``: Muon for matrices, AdamW for all other weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from e3frame.config.optimizers.base import Beta, Groups, OptimizerSpec, without_decay
from e3frame.spec.errors import SpecError

if TYPE_CHECKING:
    from torch.optim import Optimizer


class MuonSpec(OptimizerSpec):
    """Muon for the weight matrices of all MLPs, radial MLPs included (Jordan et al. 2024); AdamW for all other weights.

    The weights of linear maps and of products of irreps are flat lists of many small matrices, which Muon cannot train.
    """

    kind: Literal["muon"] = "muon"
    momentum: Beta = 0.95
    """Decay of the running mean of a matrix's gradient."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the running means of AdamW."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the denominator of AdamW."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Weight decay: each step multiplies a weight by 1 - lr * weight_decay, except biases and norms."""

    def build(self, groups: Groups) -> Optimizer:
        from e3frame.nn.muon import MuonAndAdamW

        matrices = [dict(group) for group in groups if group["role"] == "matrix"]
        if not matrices:
            raise SpecError(("optimizer", "kind"), "the model has no mlp whose matrices muon could train", "take adamw")
        others = without_decay([group for group in groups if group["role"] != "matrix"])
        return MuonAndAdamW(matrices, others, self.lr, self.momentum, self.betas, self.eps, self.weight_decay)

"""``soap``: SOAP for matrices, AdamW for all other weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from e3frame.config.optimizers.base import Beta, Groups, OptimizerSpec, matrices_and_others

if TYPE_CHECKING:
    from torch.optim import Optimizer


class SoapSpec(OptimizerSpec):
    """SOAP for the matrices of linear maps, self-connections, products and MLPs, one for each path between irreps:
    Adam in the eigenbases of Shampoo (Vyas et al. 2024, arXiv 2409.11321); AdamW for all other weights."""

    kind: Literal["soap"] = "soap"
    betas: tuple[Beta, Beta] = (0.95, 0.95)
    """Decay of the running means of the gradient and of its square."""
    shampoo_beta: Beta = 0.95
    """Decay of the preconditioners, the running means of a matrix's gradient times itself."""
    every: int = Field(default=10, ge=1)
    """Steps after which the bases follow the preconditioners."""
    largest: int = Field(default=256, ge=1)
    """Rows and columns, if more than this, keep their basis."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the denominator."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay: each step multiplies a weight by 1 - lr * weight_decay, except biases and norms."""

    def build(self, groups: Groups) -> Optimizer:
        from e3frame.nn.optim import SOAP, WithAdamW

        matrices, others = matrices_and_others(groups, self.kind)
        options = self.model_dump(exclude={"kind"})
        return WithAdamW(SOAP(matrices, **options), others, self.lr, self.betas, self.eps, self.weight_decay)

"""Optimizers, as specs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from e3frame.spec.registry import Kinded

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerSpec(Kinded, family="optimizer"):
    """How gradients become steps."""

    lr: float = Field(default=0.01, gt=0)
    """Learning rate at its highest; the scheduler lowers it."""

    def build(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        raise NotImplementedError(f"{type(self).__name__}.build")


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

    def build(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        from torch.optim import Adam

        return Adam(parameters, **self.model_dump(exclude={"kind"}))


class AdamWSpec(OptimizerSpec):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019, arXiv 1711.05101)."""

    kind: Literal["adamw"] = "adamw"
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the denominator."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Fraction, times the learning rate, that each weight loses per step."""
    amsgrad: bool = False
    """Never let the denominator shrink (Reddi et al. 2018, arXiv 1904.09237)."""

    def build(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        from torch.optim import AdamW

        return AdamW(parameters, **self.model_dump(exclude={"kind"}))

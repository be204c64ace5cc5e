"""An optimizer of matrices, and AdamW, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import AdamW, Optimizer

from e3frame.nn.optim.stacks import MatrixOptimizer

__all__ = ["WithAdamW"]


class WithAdamW(Optimizer):
    """An optimizer of matrices, and AdamW for all other parameters.

    Args:
        matrices: the optimizer of matrices.
        others: groups of any parameters, which may be none.
        lr, betas, eps, weight_decay: values of AdamW for groups that have none of their own.
    """

    def __init__(
        self,
        matrices: MatrixOptimizer,
        others: Sequence[dict[str, Any]],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        self.parts: list[Optimizer] = [matrices]
        if others:
            self.parts.append(AdamW(others, lr, betas, eps, weight_decay, fused=True))
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """One state and one list of groups, of which each part sees its own."""
        begin = 0
        for part in self.parts:
            end = begin + len(part.param_groups)
            part.param_groups, part.state = self.param_groups[begin:end], self.state
            begin = end

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

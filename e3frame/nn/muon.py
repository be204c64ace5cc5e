"""Muon and AdamW as one optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import AdamW, Muon, Optimizer


class MuonAndAdamW(Optimizer):
    """``torch.optim.Muon`` on matrices, its steps of the size of AdamW's, and AdamW on all other parameters.

    Args:
        matrices: groups of two-dimensional parameters, at least one.
        others: groups of any parameters.
        lr, momentum, betas, eps, weight_decay: values for groups that have none of their own.
    """

    def __init__(
        self,
        matrices: list[dict[str, Any]],
        others: list[dict[str, Any]],
        lr: float,
        momentum: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        self.muon = Muon(matrices, lr, weight_decay, momentum, adjust_lr_fn="match_rms_adamw")
        self.parts: list[Optimizer] = [self.muon]
        if others:
            self.parts.append(AdamW(others, lr, betas, eps, weight_decay))
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

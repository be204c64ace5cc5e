"""The running mean of the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from e3frame.network import Model


class Average:
    """``mean <- mean + (1 - d_n) (weights - mean)`` with ``d_n = min(decay, (1 + n) / (10 + n))`` after n steps.

    The decay rises from 1/10, so that the first, random weights are forgotten at once also in a short run.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    @torch.no_grad()
    def __call__(self, means: Sequence[Tensor], weights: Sequence[Tensor], count: Tensor | int) -> None:
        n = int(count)
        torch._foreach_lerp_(means, weights, 1 - min(self.decay, (1 + n) / (10 + n)))


def averaged(model: Model, decay: float) -> AveragedModel:
    """A copy of the model that follows it: call ``update_parameters(model)`` after each step."""
    copy = AveragedModel(model, multi_avg_fn=Average(decay))
    return copy.requires_grad_(False)

"""The weights in training: in groups for the optimizer, averaged over the steps, and searched for numbers that are not
finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from e3frame.network import Model
from e3frame.nn.parameters import Place, Role, matrices_of, role_of


def parameter_groups(model: nn.Module, lr: float, factor: Callable[[str], float]) -> list[dict[str, Any]]:
    """Sort the trained parameters by learning rate and role, as optimizers take them.

    Args:
        model: parameters that need no gradient are left out.
        lr: learning rate for the factor 1.
        factor: gives the factor of the learning rate for the name of a parameter.

    Returns:
        Groups with ``params``, ``lr`` and ``role`` (:data:`e3frame.nn.parameters.Role`); those of the role ``matrix``
        also with ``matrices``, the places of the matrices in each parameter.
    """
    groups: dict[tuple[float, Role], list[tuple[nn.Parameter, tuple[Place, ...]]]] = {}
    for name, module in model.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            role, places = role_of(module, own), matrices_of(module, own)
            role = "matrix" if places and role == "weight" else role
            groups.setdefault((factor(f"{name}.{own}"), role), []).append((parameter, places))
    ordered = sorted(groups.items(), key=lambda item: item[0][0] != 1.0)  # the rate that is shown is that of the first
    return [_group(lr * scale, role, members) for (scale, role), members in ordered]


def _group(lr: float, role: Role, members: Sequence[tuple[nn.Parameter, tuple[Place, ...]]]) -> dict[str, Any]:
    group = {"params": [parameter for parameter, _ in members], "lr": lr, "role": role}
    return group | ({"matrices": [list(places) for _, places in members]} if role == "matrix" else {})


class Average:
    """``mean <- mean + (1 - d_n) (weights - mean)`` with ``d_n = min(decay, (1 + n) / (10 + n))`` after n steps.

    The decay rises from 1/10, so that even a short run forgets its first, random weights at once.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    @torch.no_grad()
    def __call__(self, means: Sequence[Tensor], weights: Sequence[Tensor], count: Tensor | int) -> None:
        n = int(count)
        torch._foreach_lerp_(list(means), list(weights), 1 - min(self.decay, (1 + n) / (10 + n)))


class Averaged(AveragedModel):
    """A copy of a model that holds the running mean of its weights: call ``update_parameters(model)`` after each step.

    Args:
        model: copied.
        decay: decay of the mean per step, see :class:`Average`.
    """

    module: Model

    def __init__(self, model: Model, decay: float) -> None:
        super().__init__(model, multi_avg_fn=Average(decay))
        self.requires_grad_(False)


def not_finite(model: nn.Module, gradients: bool = False) -> Iterator[str]:
    """Names of the parameters of a model that hold NaN or infinities, or whose gradients do."""
    for name, parameter in model.named_parameters():
        tensor = parameter.grad if gradients else parameter
        if tensor is not None and not torch.isfinite(tensor).all():
            yield name

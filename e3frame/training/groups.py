"""Parameters in the groups that optimizers treat differently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from e3frame.nn.parameters import Role, role_of


def parameter_groups(model: nn.Module, lr: float, factor: Callable[[str], float]) -> list[dict[str, Any]]:
    """The trained parameters, grouped by learning rate and role, as optimizers take them.

    Args:
        model: parameters that need no gradient are left out.
        lr: learning rate of the factor 1.
        factor: of the learning rate, by the name of a parameter.

    Returns:
        Groups with ``params``, ``lr`` and ``role`` (:data:`e3frame.nn.parameters.Role`).
    """
    groups: dict[tuple[float, Role], list[nn.Parameter]] = {}
    for name, module in model.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            groups.setdefault((factor(f"{name}.{own}"), role_of(module, own)), []).append(parameter)
    ordered = sorted(groups.items(), key=lambda item: item[0][0] != 1.0)  # the rate that is shown is that of the first
    return [{"params": params, "lr": lr * scale, "role": role} for (scale, role), params in ordered]

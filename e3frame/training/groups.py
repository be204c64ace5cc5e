"""Parameters in the groups that optimizers treat differently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from e3frame.nn.batch_norm import BatchNorm
from e3frame.nn.layer_norm import LayerNorm
from e3frame.nn.mlp import FullyConnectedNet


def parameter_groups(model: nn.Module, lr: float, factor: Callable[[str], float]) -> list[dict[str, Any]]:
    """The trained parameters, grouped by learning rate and role, as optimizers take them.

    Args:
        model: parameters that need no gradient are left out.
        lr: learning rate of the factor 1.
        factor: of the learning rate, by the name of a parameter.

    Returns:
        Groups with ``params``, ``lr`` and ``role``: ``bias`` (of a layer or a norm, and the scales of norms),
        ``matrix`` (weights of an mlp) or ``weight`` (all others; those of linear maps and products of irreps are flat
        lists of many matrices).
    """
    groups: dict[tuple[float, str], list[nn.Parameter]] = {}
    networks = [name for name, module in model.named_modules() if isinstance(module, FullyConnectedNet)]
    for name, module in model.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            role = "weight"
            if own.startswith("bias") or isinstance(module, BatchNorm | LayerNorm):
                role = "bias"
            elif parameter.ndim == 2 and any(name.startswith(f"{network}.") for network in networks):
                role = "matrix"
            groups.setdefault((factor(f"{name}.{own}"), role), []).append(parameter)
    ordered = sorted(groups.items(), key=lambda item: item[0][0] != 1.0)  # the rate that is shown is that of the first
    return [{"params": params, "lr": lr * scale, "role": role} for (scale, role), params in ordered]

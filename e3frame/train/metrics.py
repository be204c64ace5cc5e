"""Errors of the targets, exact whatever the sizes of the batches, in the units people compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from e3frame.train.losses import Loss, Sum, residual
from e3frame.train.targets import TargetSpec, TaskSpec


def displayed(unit: str) -> tuple[float, str]:
    """Factor and name of the unit in which errors are shown: meV for eV.

    >>> displayed("eV/Å")
    (1000.0, 'meV/Å')
    """
    return (1000.0, f"m{unit}") if unit == "eV" or unit.startswith("eV/") else (1.0, unit)


@dataclass(frozen=True)
class Errors:
    """Errors of one target over all entries, in ``unit``.

    Attributes:
        mae_per_atom, rmse_per_atom: of the values divided by the number of atoms; for targets that are trained so.
        zero_mae, zero_rmse: what predicting zero would score; for what has a direction.
    """

    unit: str
    mae: float
    rmse: float
    mae_per_atom: float | None = None
    rmse_per_atom: float | None = None
    zero_mae: float | None = None
    zero_rmse: float | None = None


class TargetErrors(Metric):
    """MAE and RMSE of one target, accumulated in float64."""

    full_state_update = False
    sums: Tensor

    def __init__(self, target: TargetSpec, unit: str) -> None:
        super().__init__()
        self.factor, self.unit = displayed(unit)
        self.per_atom = target.per_atom
        self.directed = any(not ir.is_scalar() for _, ir in target.irreps)
        # |d|, d², |d|/atoms, (d/atoms)², |label|, label², entries
        self.add_state("sums", torch.zeros(7, dtype=torch.float64), dist_reduce_fx="sum")
        self.register_buffer("squared", torch.tensor([False, True] * 3), persistent=False)

    def update(self, prediction: Tensor, label: Tensor, atoms: Tensor) -> None:
        each = residual(prediction.detach(), label)
        per_atom = each / atoms.unsqueeze(-1) if self.per_atom else each.new_zeros(())
        parts = [part for x in (each, per_atom, label.to(torch.float64)) for part in (x.abs().sum(), x.square().sum())]
        self.sums += torch.stack([*parts, each.new_tensor(each.numel())])

    def compute(self) -> Tensor:
        """(6,) MAE and RMSE: of the values, per atom, and of zero."""
        means = self.sums[:-1] / self.sums[-1]
        return self.factor * torch.where(self.squared, means.sqrt(), means)

    def errors(self) -> Errors:
        mae, rmse, *more = self.compute().tolist()
        per_atom = more[:2] if self.per_atom else (None, None)
        zero = more[2:] if self.directed else (None, None)
        return Errors(self.unit, mae, rmse, *per_atom, *zero)


class LossSum(Metric):
    """Mean loss of one target over the entries of all batches."""

    full_state_update = False
    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, part: Sum) -> None:
        value = part.value.detach().to(torch.float64)
        self.sums += torch.stack([value, value.new_tensor(part.count)])

    def compute(self) -> Tensor:
        return self.sums[0] / self.sums[1]


class TaskErrors(nn.Module):
    """Errors and losses of all targets of a task over one split."""

    def __init__(self, task: TaskSpec) -> None:
        super().__init__()
        self.task = task
        # Lists, because a module's attributes would be out of bounds as names of targets.
        self.targets = nn.ModuleList([TargetErrors(target, task.unit(name)) for name, target in task.targets.items()])
        self.losses = nn.ModuleList([LossSum() for _ in task.targets])

    def update(
        self,
        outputs: Mapping[str, Tensor],
        batch: Mapping[str, Tensor],
        atoms: Tensor,
        parts: Mapping[str, Sum],
    ) -> None:
        for name, errors, loss in zip(self.task.targets, self.targets, self.losses, strict=True):
            errors.update(outputs[name], batch[self.task.key(name)], atoms)
            loss.update(parts[name])

    def compute(self) -> dict[str, Errors]:
        return {name: errors.errors() for name, errors in zip(self.task.targets, self.targets, strict=True)}

    def loss(self) -> float:
        """The weighted loss of everything seen since the last reset."""
        means = {name: loss.compute() for name, loss in zip(self.task.targets, self.losses, strict=True)}
        return float(Loss(self.task).total(means))

    def reset(self) -> None:
        for metric in (*self.targets, *self.losses):
            metric.reset()

    def flat(self) -> dict[str, float]:
        """``loss``, and for each target ``<name>_mae`` and ``<name>_rmse`` in the unit that :func:`units` names."""
        values = {"loss": self.loss()}
        for name, errors in self.compute().items():
            per_atom = self.task.targets[name].per_atom
            values[f"{name}_mae"] = errors.mae_per_atom if per_atom else errors.mae
            values[f"{name}_rmse"] = errors.rmse_per_atom if per_atom else errors.rmse
        return values


def units(task: TaskSpec) -> dict[str, str]:
    """The unit of each value of :meth:`TaskErrors.flat`: meV/atom for an energy that is trained per atom."""
    shown = {}
    for name, target in task.targets.items():
        unit = displayed(task.unit(name))[1]
        shown[f"{name}_mae"] = shown[f"{name}_rmse"] = f"{unit}/atom" if target.per_atom else unit
    return shown


def as_json(errors: Errors) -> dict[str, Any]:
    """What ``metrics.json`` holds of one target."""
    return {key: value for key, value in vars(errors).items() if value is not None}

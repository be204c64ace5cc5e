"""Errors of the targets, independent of the batch size, in the units that people compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from e3frame.config.targets import TargetSpec, TaskSpec
from e3frame.evaluate.losses import Loss, Sum
from e3frame.evaluate.residuals import Residual, in_components
from e3frame.spec.words import typeset


def displayed(unit: str) -> tuple[float, str]:
    """Factor and name of the unit in which errors are shown, such as meV for eV.

    >>> displayed("eV/Å"), displayed("eV/Å^3"), displayed("e*Å^2")
    ((1000.0, 'meV/Å'), (1000.0, 'meV/Å³'), (1.0, 'e·Å²'))
    """
    return (1000.0, typeset(f"m{unit}")) if unit == "eV" or unit.startswith("eV/") else (1.0, typeset(unit))


@dataclass(frozen=True)
class Errors:
    """Errors of one target in ``unit``, over all entries that have a label; a tensor counts by Cartesian components.

    Attributes:
        unit: unit of the errors, such as meV/Å.
        mae: mean absolute error.
        rmse: root of the mean squared error.
        mae_per_atom: MAE per atom, for targets that are trained per atom.
        rmse_per_atom: RMSE per atom, likewise.
        zero_mae: MAE of predicting zero, for targets with a direction.
        zero_rmse: RMSE of predicting zero, likewise.
        r2: see :func:`e3frame.evaluate.breakdown.r2`; computed per atom for targets that are trained per atom.
        frames: number of frames with a label; None if all have one.
        by_species: errors of each species if there are several, ``{"H": {"mae": ..., "rmse": ...}}``; edges are grouped
            by the species of both atoms, ``{"C-H": ...}``.
        by_irrep: errors of each irrep if there are several.
    """

    unit: str
    mae: float
    rmse: float
    mae_per_atom: float | None = None
    rmse_per_atom: float | None = None
    zero_mae: float | None = None
    zero_rmse: float | None = None
    r2: float | None = None
    frames: int | None = None
    by_species: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    by_irrep: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def shown(self) -> tuple[float, float, str]:
        """MAE, RMSE and unit as people compare them: per atom for targets that are trained per atom."""
        if self.mae_per_atom is None or self.rmse_per_atom is None:
            return self.mae, self.rmse, self.unit
        return self.mae_per_atom, self.rmse_per_atom, f"{self.unit}/atom"


class TargetErrors(Metric):
    """MAE and RMSE of one target, accumulated in float64."""

    full_state_update = False
    sums: Tensor
    squared: Tensor

    def __init__(self, target: TargetSpec, unit: str) -> None:
        super().__init__()
        self.target = target
        self.factor, self.unit = displayed(unit)
        self.directed = any(not ir.is_scalar() for _, ir in target.type.irreps)
        # |d|, d², |d|/atoms, (d/atoms)², |label|, label², entries
        self.add_state("sums", torch.zeros(7, dtype=torch.float64), dist_reduce_fx="sum")
        self.register_buffer("squared", torch.tensor([False, True] * 3), persistent=False)

    def update(self, irreps: Residual, atoms: Tensor) -> None:
        residual = in_components(self.target, Residual(irreps.prediction.detach(), irreps.label))
        each = residual.difference
        per_atom = each / atoms.unsqueeze(-1) if self.target.per_atom else each.new_zeros(())
        label = residual.label.where(residual.labelled, 0.0)
        parts = [part for x in (each, per_atom, label) for part in (x.abs().sum(), x.square().sum())]
        self.sums += torch.stack([*parts, residual.labelled.sum().to(each)])

    def compute(self) -> Tensor:
        """(7,) MAE and RMSE of the values, per atom and of predicting zero; then the number of entries with a label."""
        means = self.sums[:-1] / self.sums[-1]
        return torch.cat([self.factor * torch.where(self.squared, means.sqrt(), means), self.sums[-1:]])

    def errors(self) -> Errors | None:
        """Return the errors; None if no process has seen a label."""
        mae, rmse, *more, entries = self.compute().tolist()
        if entries == 0:
            return None
        per_atom = more[:2] if self.target.per_atom else (None, None)
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
        self.sums += torch.stack([value, part.count.to(value)])

    def compute(self) -> Tensor:
        return self.sums[0] / self.sums[1].clamp(min=1)


class TaskErrors(nn.Module):
    """Errors and losses of all targets of a task, accumulated over a split."""

    def __init__(self, task: TaskSpec) -> None:
        super().__init__()
        self.task = task
        self.targets = {name: TargetErrors(target, task.unit(name)) for name, target in task.targets.items()}
        self.losses = {name: LossSum() for name in task.targets}
        # Registered as a list, because a target may have a name that no attribute of a module can have.
        self.metrics = nn.ModuleList([*self.targets.values(), *self.losses.values()])

    def update(self, residuals: Mapping[str, Residual], atoms: Tensor, parts: Mapping[str, Sum]) -> None:
        """Add a batch.

        Args:
            residuals, parts: from :class:`Loss`.
            atoms: (graphs,) number of atoms.
        """
        for name in self.task.targets:
            self.targets[name].update(residuals[name], atoms)
            self.losses[name].update(parts[name])

    def compute(self) -> dict[str, Errors]:
        """Return the errors of each target that has at least one label."""
        found = {name: errors.errors() for name, errors in self.targets.items()}
        return {name: errors for name, errors in found.items() if errors is not None}

    def loss(self) -> float:
        """Return the weighted loss over all batches since the last reset."""
        means = {name: loss.compute() for name, loss in self.losses.items()}
        return float(Loss(self.task).total(means))

    def reset(self) -> None:
        for metric in (*self.targets.values(), *self.losses.values()):
            metric.reset()

    def flat(self) -> dict[str, float]:
        """``loss``, and ``<name>_mae`` and ``<name>_rmse`` of each target, in the units of :func:`units`."""
        values = {"loss": self.loss()}
        for name, errors in self.compute().items():
            values[f"{name}_mae"], values[f"{name}_rmse"], _ = errors.shown
        return values


def units(task: TaskSpec) -> dict[str, str]:
    """Unit of each value of :meth:`TaskErrors.flat`, such as meV/atom for an energy that is trained per atom."""
    shown = {}
    for name, target in task.targets.items():
        unit = displayed(task.unit(name))[1]
        shown[f"{name}_mae"] = shown[f"{name}_rmse"] = f"{unit}/atom" if target.per_atom else unit
    return shown


def sums(errors: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors that the metrics accumulate, in a fixed order."""
    for metric in errors.modules():
        if isinstance(metric, Metric):
            yield from (getattr(metric, name) for name in metric._defaults)


def as_json(errors: Errors) -> dict[str, Any]:
    """Return the entry of a target in ``metrics.json``."""
    return {key: value for key, value in vars(errors).items() if value not in (None, {})}

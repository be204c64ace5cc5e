"""Losses of the targets, and their weighted sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from e3frame.config.losses import LossSpec
from e3frame.config.targets import TargetSpec, TaskSpec
from e3frame.evaluate.residuals import Residual, residual
from e3frame.spec.elements import ATOMIC_NUMBERS


@dataclass(frozen=True)
class Sum:
    """A sum over entries and their number, so that batches of any size add up to an exact mean.

    Attributes:
        value: the sum.
        count: number of entries; a tensor, so that the host does not wait for the device.
    """

    value: Tensor
    count: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean over the entries; without any, zero with zero gradients."""
        return self.value / self.count.clamp(min=1)


class Loss:
    """``Σ_t weight_t mean_entries(w loss_t(prediction_t - label_t))`` over the targets of a task.

    ``w`` are the weights of species and components, 1 if none are given. Entries without a label do not count.
    """

    def __init__(self, task: TaskSpec) -> None:
        self.task = task
        self.losses = {name: target.loss_spec for name, target in task.targets.items()}

    def residuals(
        self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], atoms: Tensor
    ) -> dict[str, Residual]:
        """Return the residual of each target, in irreps.

        Args:
            outputs: outputs of the model.
            batch: labels by name, and atomic numbers ``z`` if a target has weights of species.
            atoms: (graphs,) number of atoms.
        """
        task = self.task
        return {name: residual(t, outputs[name], batch[task.key(name)], atoms) for name, t in task.targets.items()}

    def parts(self, residuals: Mapping[str, Residual], batch: Mapping[str, Tensor], atoms: Tensor) -> dict[str, Sum]:
        """Return the loss of each target, without its weight.

        Args:
            residuals: from :meth:`residuals`, with the same ``batch`` and ``atoms``.
        """
        parts = {}
        for name, both in residuals.items():
            target = self.task.targets[name]
            each = _each(self.losses[name], both, atoms.unsqueeze(-1) if target.per_atom else None)
            if target.component_weights is not None:
                each = each * _per_component(target).to(each.device)
            if target.species_weights is not None:
                weights = _per_atomic_number(target.species_weights).to(each.device)
                each = each * weights[batch["z"]].unsqueeze(-1)
            parts[name] = Sum(each.sum(), both.labelled.sum())
        return parts

    def total(self, means: Mapping[str, Tensor], epoch: int | None = None) -> Tensor:
        """Return the weighted sum of the targets' mean losses. Targets of weight 0 are ignored, even if NaN.

        Args:
            means: mean loss of each target.
            epoch: number of finished epochs, which decides the weights; None: the final weights, with which losses of
                different epochs can be compared.
        """
        weights = {
            name: target.last_weight if epoch is None else target.weight_at(epoch)
            for name, target in self.task.targets.items()
        }
        used = [weight * means[name] for name, weight in weights.items() if weight > 0]
        # Without a weight, zero that still belongs to the autograd graph.
        return torch.stack(used).sum() if used else 0.0 * torch.stack(list(means.values())).sum()


def _each(loss: LossSpec, both: Residual, atoms: Tensor | None) -> Tensor:
    """Loss of each entry; zero for entries without a label."""
    if loss.needs == ("difference",):
        return loss.each(difference=both.difference if atoms is None else both.difference / atoms)
    label = both.label.where(both.labelled, both.prediction.detach())
    given = {"difference": both.difference, "prediction": both.prediction, "label": label}
    needed = {name: given[name] if atoms is None else given[name] / atoms for name in loss.needs}
    return loss.each(**needed).where(both.labelled, 0.0)


def _per_component(target: TargetSpec) -> Tensor:
    """(components,) weight of each component, which is that of its irrep."""
    dims = torch.tensor([ir.dim for mul, ir in target.type.irreps for _ in range(mul)])
    return torch.tensor(target.component_weights, dtype=torch.float64).repeat_interleave(dims)


def _per_atomic_number(species_weights: Mapping[str, float]) -> Tensor:
    """Weight by atomic number; 1 for species without one."""
    weights = torch.ones(len(ATOMIC_NUMBERS), dtype=torch.float64)
    for symbol, weight in species_weights.items():
        weights[ATOMIC_NUMBERS[symbol]] = weight
    return weights

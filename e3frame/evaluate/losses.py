"""Losses of the targets, and their weighted sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from e3frame.config.losses import LossSpec
from e3frame.config.targets import TargetSpec, TaskSpec
from e3frame.evaluate.pairs import Pair, pair
from e3frame.spec.elements import ATOMIC_NUMBERS


@dataclass(frozen=True)
class Sum:
    """A sum over entries and how many they were, so that batches of any size add up to an exact mean.

    Attributes:
        count: a tensor, so that the host need not wait for the device.
    """

    value: Tensor
    count: Tensor

    @property
    def mean(self) -> Tensor:
        """Zero, with zero gradients, where there is no entry."""
        return self.value / self.count.clamp(min=1)


class Loss:
    """``Σ_t weight_t mean_entries(w loss_t(prediction_t - label_t))`` over the targets of a task.

    ``w`` are the weights of species and components, 1 if there are none. Entries without a label are left out.
    """

    def __init__(self, task: TaskSpec) -> None:
        self.task = task
        self.losses = {name: target.loss_spec for name, target in task.targets.items()}

    def pairs(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], atoms: Tensor) -> dict[str, Pair]:
        """Prediction and label of each target, in irreps.

        Args:
            outputs: what the model returned.
            batch: labels by name, and ``z`` where a target weighs species.
            atoms: (graphs,) number of atoms.
        """
        task = self.task
        return {name: pair(t, outputs[name], batch[task.key(name)], atoms) for name, t in task.targets.items()}

    def parts(self, pairs: Mapping[str, Pair], batch: Mapping[str, Tensor], atoms: Tensor) -> dict[str, Sum]:
        """The loss of each target, unweighted.

        Args:
            pairs: as :meth:`pairs` gave them, with the same ``batch`` and ``atoms``.
        """
        parts = {}
        for name, both in pairs.items():
            target = self.task.targets[name]
            each = _each(self.losses[name], both, atoms.unsqueeze(-1) if target.per_atom else None)
            if target.component_weights is not None:
                each = each * _per_component(target).to(each.device)
            if target.species_weights is not None:
                each = each * _per_atomic_number(target).to(each.device)[batch["z"]].unsqueeze(-1)
            parts[name] = Sum(each.sum(), both.labelled.sum())
        return parts

    def total(self, means: Mapping[str, Tensor], epoch: int | None = None) -> Tensor:
        """The weighted sum of the targets' mean losses. A target of weight 0 takes no part, NaN or not.

        Args:
            means: of each target.
            epoch: so many have passed, by which weights may change; None: the last weights, with which losses of
                different epochs compare.
        """
        weights = {
            name: target.last_weight if epoch is None else target.weight_at(epoch)
            for name, target in self.task.targets.items()
        }
        used = [weight * means[name] for name, weight in weights.items() if weight > 0]
        # Without any, a sum that still belongs to the graph of the model.
        return torch.stack(used).sum() if used else 0.0 * torch.stack(list(means.values())).sum()


def _each(loss: LossSpec, both: Pair, atoms: Tensor | None) -> Tensor:
    """The loss of each entry; zero where there is no label."""
    if loss.needs == ("difference",):
        return loss.each(difference=both.difference if atoms is None else both.difference / atoms)
    label = both.label.where(both.labelled, both.prediction.detach())
    given = {"difference": both.difference, "prediction": both.prediction, "label": label}
    needed = {name: given[name] if atoms is None else given[name] / atoms for name in loss.needs}
    return loss.each(**needed).where(both.labelled, 0.0)


def _per_component(target: TargetSpec) -> Tensor:
    """(components,): the weight of each irrep on all its components."""
    dims = torch.tensor([ir.dim for mul, ir in target.type.irreps for _ in range(mul)])
    return torch.tensor(target.component_weights, dtype=torch.float64).repeat_interleave(dims)


def _per_atomic_number(target: TargetSpec) -> Tensor:
    weights = torch.ones(len(ATOMIC_NUMBERS), dtype=torch.float64)
    for symbol, weight in target.species_weights.items():
        weights[ATOMIC_NUMBERS[symbol]] = weight
    return weights

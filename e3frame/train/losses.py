"""Losses of the targets, and their weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from e3frame.train.targets import TargetSpec, TaskSpec

DEFAULT_HUBER_DELTA = 0.01


def residual(prediction: Tensor, label: Tensor, atoms: Tensor | None = None) -> Tensor:
    """``prediction - label`` as (rows, components) in float64, in which total energies keep their meV.

    Args:
        prediction: (rows, components).
        label: (rows, ...) of as many components, in any shape.
        atoms: (rows,) number of atoms to divide by.

    Raises:
        ValueError: the sizes do not agree; broadcasting would average the wrong things without a word.
    """
    if prediction.numel() != label.numel() or len(prediction) != len(label):
        shapes = f"{tuple(prediction.shape)} and {tuple(label.shape)}"
        raise ValueError(f"a prediction and its label must be of one size, got {shapes}")
    difference = prediction.to(torch.float64) - label.to(torch.float64).reshape(prediction.shape)
    return difference if atoms is None else difference / atoms.unsqueeze(-1)


def huber(difference: Tensor, delta: float) -> Tensor:
    """``d²/2`` up to ``delta``, ``delta (|d| - delta/2)`` beyond (Huber 1964), for each entry."""
    return F.huber_loss(difference, torch.zeros_like(difference), reduction="none", delta=delta)


def entrywise(target: TargetSpec) -> Callable[[Tensor], Tensor]:
    """The loss of each entry of a residual."""
    if target.loss == "mse":
        return torch.square
    if target.loss == "mae":
        return torch.abs
    return partial(huber, delta=target.huber_delta or DEFAULT_HUBER_DELTA)


@dataclass(frozen=True)
class Sum:
    """A sum over entries and how many they were, so that batches of any size add up to an exact mean."""

    value: Tensor
    count: int

    @property
    def mean(self) -> Tensor:
        return self.value / self.count


class Loss:
    """``Σ_t weight_t mean_entries(loss_t(prediction_t - label_t))`` over the targets of a task."""

    def __init__(self, task: TaskSpec) -> None:
        self.task = task
        self.functions = {name: entrywise(target) for name, target in task.targets.items()}

    def parts(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], atoms: Tensor) -> dict[str, Sum]:
        """The loss of each target, unweighted.

        Args:
            outputs: what the model returned.
            batch: labels by name.
            atoms: (graphs,) number of atoms.
        """
        parts = {}
        for name, target in self.task.targets.items():
            each = residual(outputs[name], batch[self.task.key(name)], atoms if target.per_atom else None)
            parts[name] = Sum(self.functions[name](each).sum(), each.numel())
        return parts

    def total(self, means: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the targets' mean losses. A target of weight 0 takes no part, NaN or not."""
        return torch.stack([t.weight * means[name] for name, t in self.task.targets.items() if t.weight > 0]).sum()

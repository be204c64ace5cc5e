"""Predictions beside their labels: in irreps for the loss, in the user's components for errors and figures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from e3frame.config.targets import TargetSpec
from e3frame.io.cartesian import CartesianTensor


@dataclass(frozen=True)
class Pair:
    """One target of a batch, in float64, in which total energies keep their meV.

    Attributes:
        prediction: (rows, components); a row is a graph, an atom or an edge.
        label: of the same shape, NaN where there is no label.
    """

    prediction: Tensor
    label: Tensor

    @property
    def labelled(self) -> Tensor:
        """Which entries have a label."""
        return ~self.label.isnan()

    @property
    def difference(self) -> Tensor:
        """``prediction - label``; where there is no label zero, and so is its gradient."""
        return (self.prediction - self.label).where(self.labelled, 0.0)


def pair(target: TargetSpec, prediction: Tensor, label: Tensor, atoms: Tensor) -> Pair:
    """A target's prediction and label as irreps.

    Args:
        prediction: (rows, components) as the model gave it.
        label: (rows, ...) as the data hold it, Cartesian where the target is.
        atoms: (graphs,) number of atoms, over which a target with ``sum`` is added up.

    Raises:
        ValueError: the sizes do not agree; broadcasting would average the wrong things without a word.
    """
    prediction = prediction.to(torch.float64)
    if target.sum is not None:
        graph = torch.repeat_interleave(torch.arange(len(atoms), device=atoms.device), atoms)
        prediction = prediction.new_zeros(len(atoms), prediction.shape[1]).index_add(0, graph, prediction)
    label = label.to(torch.float64)
    if target.formula is not None:
        cartesian = CartesianTensor(target.formula)
        label = cartesian.from_cartesian(label.reshape(len(label), *target.label.shape))
    if prediction.numel() != label.numel() or len(prediction) != len(label):
        shapes = f"{tuple(prediction.shape)} and {tuple(label.shape)}"
        raise ValueError(f"a prediction and its label must be of one size, got {shapes}")
    return Pair(prediction, label.reshape(prediction.shape))


def in_components(target: TargetSpec, irreps: Pair) -> Pair:
    """The pair as the user knows it: Cartesian components, flat, where the target is Cartesian."""
    if target.formula is None:
        return irreps
    cartesian = CartesianTensor(target.formula)
    return Pair(*(cartesian.to_cartesian(x).flatten(1) for x in (irreps.prediction, irreps.label)))

"""Residuals of predictions: in irreps for the loss, in the user's components for errors and figures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from e3frame.config.targets import TargetSpec
from e3frame.io.cartesian import CartesianTensor


@dataclass(frozen=True)
class Residual:
    """Prediction, label and their difference for one target, in float64 so that total energies are exact to meV.

    Attributes:
        prediction: (rows, components); a row is a graph, an atom or an edge.
        label: same shape, NaN for entries without a label.
    """

    prediction: Tensor
    label: Tensor

    @property
    def labelled(self) -> Tensor:
        """Mask of the entries that have a label."""
        return ~self.label.isnan()

    @property
    def difference(self) -> Tensor:
        """``prediction - label``; zero, with zero gradient, for entries without a label."""
        return (self.prediction - self.label).where(self.labelled, 0.0)


def residual(target: TargetSpec, prediction: Tensor, label: Tensor, atoms: Tensor) -> Residual:
    """Return the residual of a target in irreps.

    Args:
        prediction: (rows, components), output of the model.
        label: (rows, ...) from the data; Cartesian if the target is.
        atoms: (graphs,) number of atoms; a target with ``sum`` is summed over them.

    Raises:
        ValueError: the sizes differ, so that broadcasting would silently average the wrong entries.
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
        raise ValueError(f"prediction and label must have the same size; got {shapes}")
    return Residual(prediction, label.reshape(prediction.shape))


def in_components(target: TargetSpec, irreps: Residual) -> Residual:
    """Return the residual in the user's components: flat Cartesian ones if the target is Cartesian, else irreps."""
    if target.formula is None:
        return irreps
    cartesian = CartesianTensor(target.formula)
    return Residual(*(cartesian.to_cartesian(x).flatten(1) for x in (irreps.prediction, irreps.label)))

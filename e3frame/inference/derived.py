"""What follows from the energy of a model, whether it was trained on it or not."""

from __future__ import annotations

from e3frame.layers.negative_gradient import NegativeGradient
from e3frame.layers.strain_gradient import StrainGradient
from e3frame.model import ModelSpec, TypedModel
from e3frame.network import Model
from e3frame.spec.errors import SpecError

ENERGY = "energy"
"""The output that is an energy: what follows from it is called ``forces``, ``stress`` and ``energies``."""


def with_derivatives(spec: ModelSpec) -> ModelSpec:
    """The model with forces and stress as further outputs, if it has an energy and they are none yet."""
    added = {"forces": NegativeGradient(of=ENERGY), "stress": StrainGradient(of=ENERGY)}
    new = {name: layer for name, layer in added.items() if name not in spec.outputs and name not in spec.layers}
    derived = spec.replace(outputs={**spec.outputs, **new})
    if ENERGY not in spec.outputs or not new:
        return spec
    try:
        derived.typed()
    except SpecError:  # it is no energy: several numbers, one that an inversion turns, or one without positions
        return spec
    return derived


def summand(typed: TypedModel, model: Model) -> str | None:
    """The key of the field per atom whose sum is the energy; None if the energy is no sum, or its module does not tell
    the share of each atom (``of_nodes``)."""
    for step in typed.steps:
        if ENERGY in typed.outputs and step.binding.key == typed.outputs[ENERGY].key:
            shares = step.spec.extensive and step.binding.irreps.dim == 1
            tells = hasattr(model.layers[step.binding.key], "of_nodes")
            return step.signature.inputs[0] if shares and tells else None
    return None

"""What follows from the energy of a model, whether it was trained on it or not."""

from __future__ import annotations

from e3frame.layers.negative_gradient import NegativeGradient
from e3frame.layers.strain_gradient import StrainGradient
from e3frame.layers.sum import Sum
from e3frame.model import ModelSpec, TypedModel
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


def summand(typed: TypedModel) -> str | None:
    """The key of the field per atom whose sum is the energy, or None where it is no sum."""
    for step in typed.steps:
        if ENERGY in typed.outputs and step.binding.key == typed.outputs[ENERGY].key:
            return step.signature.inputs[0] if isinstance(step.spec, Sum) and step.binding.irreps.dim == 1 else None
    return None

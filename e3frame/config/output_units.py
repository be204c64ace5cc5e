"""Units of a model's outputs, and the factors that convert them to the units of ASE: eV, Å and e.

An energy and all that is derived from it have one factor, because lengths are in Å everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from e3frame.config.targets import TaskSpec
from e3frame.data.sources.base import DataSpec
from e3frame.spec.base import shown
from e3frame.spec.errors import DataError, SpecError
from e3frame.spec.layer import LayerSpec
from e3frame.spec.quantities import QUANTITIES, quantity_of
from e3frame.spec.units import Units

_SAME = 1e-9
"""Relative difference of factors that are equal up to rounding."""


def factors(outputs: Mapping[str, LayerSpec], task: TaskSpec | None) -> dict[str, float]:
    """Return the conversion factor to eV, Å and e of each output whose name is a known quantity.

    Args:
        outputs: outputs of a model whose task has passed :func:`check_units`.
    """
    found = {}
    for name in filter(quantity_of, outputs):
        units = {} if task is None else _units(_root(name, outputs), outputs, task)
        found[name] = next((factor for factor in units.values() if factor is not None), 1.0)
    return found


def check_units(name: str, outputs: Mapping[str, LayerSpec], task: TaskSpec) -> None:
    """Check that a target's unit is one of its quantity, and is consistent with the unit of its energy.

    Raises:
        SpecError: the unit does not fit; the path starts at the root of the run config.
    """
    root, unit = _root(name, outputs), task.unit(name)
    quantity = _quantity(name, root, outputs)
    path = ("task", "targets", name) if task.targets[name].unit is None else ("task", "targets", name, "unit")
    own = _factor(quantity, unit)
    if own is None and unit and (named := quantity_of(name)) is not None:
        known = ", ".join(QUANTITIES[quantity].known_units[:6])
        hint = f"known units: {known}, ...\nor rename the target: ASE expects {name} in {named.unit}"
        raise SpecError(path, f"{shown(unit)} is not a known unit of {name}", hint)
    energy = _factor("energy", task.unit(root)) if root != name and root in task.targets else None
    if own is not None and energy is not None and abs(own / energy - 1) > _SAME:
        right = task.unit(root) + QUANTITIES[quantity].unit.removeprefix(QUANTITIES["energy"].unit)
        problem = f"'{name}' is derived from '{root}', which is in {task.unit(root)}: it is in {right}, not in {unit}"
        hint = f"name the label of '{root}' energy, so that it is converted to eV: data.keys.energy=KEY"
        raise SpecError(path, problem, hint, at_key=len(path) == 3)


def require_file_units(task: TaskSpec, data: DataSpec) -> None:
    """Check that files state the unit of a target whose label has a name of the user's own, which is not converted.

    Raises:
        DataError: the files state another unit than the target, for example for a target energy with the label e_dft.
    """
    files = data.found_units()
    raw = [name for name in task.targets if quantity_of(name) and not quantity_of(task.key(name))]
    if files is None or files == Units():
        return
    for name in raw:
        key, claimed = task.key(name), _factor(name, task.unit(name))
        if key in data.label_names and claimed and abs(claimed / files.label_factor(name) - 1) > _SAME:
            problem = (
                f"the target {name} is in {task.unit(name)}, but the file or data.units gives '{key}' another unit"
            )
            hint = f"name the label {name}, so that it is converted: data.keys.{name}=KEY"
            raise DataError(problem, file=", ".join(data.paths), hint=hint)


def _root(name: str, outputs: Mapping[str, LayerSpec]) -> str:
    """Return the energy that an output is derived from, or the output itself."""
    layer = outputs.get(name)
    return layer.source or name if layer is not None and layer.derives is not None else name


def _quantity(name: str, root: str, outputs: Mapping[str, LayerSpec]) -> str:
    if name != root:
        return outputs[name].derives or name
    derives = any(other != root and _root(other, outputs) == root for other in outputs)
    return "energy" if derives else name


def _units(root: str, outputs: Mapping[str, LayerSpec], task: TaskSpec) -> dict[str, float | None]:
    """Return the unit factors of ``root`` and of all targets derived from it, ``root`` first."""
    members = [root, *(name for name in _derived(root, outputs))]
    return {name: _factor(_quantity(name, root, outputs), task.unit(name)) for name in members if name in task.targets}


def _derived(root: str, outputs: Mapping[str, LayerSpec]) -> Iterator[str]:
    return (name for name in outputs if name != root and _root(name, outputs) == root)


def _factor(quantity: str, unit: str) -> float | None:
    """Return the factor from this unit to eV, Å and e, or None if it is unknown."""
    known = QUANTITIES.get(quantity)
    return None if known is None else known.value_of(unit)

"""Checks that the model produces, and the data contain, what each target needs. Imports no torch."""

from __future__ import annotations

from e3frame.algebra.irreps import Irreps
from e3frame.config.output_units import check_units
from e3frame.config.targets import TargetSpec, TaskSpec, label_of
from e3frame.data.sources.base import DataSpec, Label
from e3frame.model import ModelSpec, TypedModel
from e3frame.spec.base import shown
from e3frame.spec.errors import SpecError, did_you_mean, nearest
from e3frame.spec.irreps import under
from e3frame.spec.layer import LayerSpec, TensorType
from e3frame.spec.quantities import quantity_of
from e3frame.spec.statistics import Shifts
from e3frame.spec.unit_names import unknown_part
from e3frame.spec.units import canonical


def with_derived(model: ModelSpec, task: TaskSpec) -> ModelSpec:
    """Return the model with an output added for each derived target that it lacks but whose energy it has."""
    added = {
        name: LayerSpec.parse({"kind": target.derive, "of": target.of})
        for name, target in task.targets.items()
        if target.derive is not None and name not in model.outputs and target.of in model.outputs
    }
    taken = [name for name in added if name in model.layers]
    if not added or taken:
        return model
    return model.replace(outputs={**model.outputs, **added})


def input_label(irreps: Irreps) -> Label:
    """Return the label that the data must have for an input of the model: a scalar for 0e, a vector for 1o."""
    return Label("graph", () if irreps.dim == 1 else (irreps.dim,))


def needed_labels(model: ModelSpec, task: TaskSpec) -> dict[str, Label]:
    """Return all labels that frames must have: those of targets and those of inputs."""
    return task.labels | {name: input_label(irreps) for name, irreps in model.inputs.items()}


def shifts_of(model: ModelSpec, task: TaskSpec, data: DataSpec) -> Shifts | None:
    """Return the reference energies that frames of a single atom may define, or None if they are ordinary frames.

    The result does not change when ``auto`` is resolved, so that a resumed run keeps its data.
    """
    if data.single_atoms == "frames" or model.inputs:
        return None
    found = [
        Shifts(task.key(name), None if given.shift == "auto" else given.shift)
        for name, layer in model.outputs.items()
        if layer.extensive and (given := layer.scale_shift) is not None
        if name in task.targets and task.targets[name].label == ("graph", ())
    ]
    return min(found, key=lambda shifts: shifts.label != "energy", default=None)


def check_input(name: str, model: ModelSpec, task: TaskSpec, data: DataSpec, trained: bool = False) -> None:
    """Check one input of the model against the data's labels, and against a target with the same label.

    Args:
        name: name of the input.
        model: the model.
        task: targets of the run.
        data: source of the labels.
        trained: whether the model is trained, so that its inputs cannot be removed.

    Raises:
        SpecError: the input does not fit; the path starts at the root of the run config.
    """
    path, label = ("model", "inputs", name), input_label(model.inputs[name])
    if name not in data.label_names:
        alike = [there for there in data.label_names if (q := quantity_of(there)) is None or label_of(q) == label]
        hint = data.way_to(name, alike) + ("" if trained else "\nor remove this input from the model")
        raise SpecError(
            path, f"the model reads the input '{name}', but the data have no label '{name}'", hint, at_key=True
        )
    quantity = quantity_of(name)
    learned = task.labels.get(name) or (label if quantity is None else label_of(quantity))
    if learned != label:
        raise SpecError(path, f"the label '{name}' is {_form(learned)}, but the model reads {_form(label)}")


def _form(label: Label) -> str:
    return f"{label.shape} per {label.per}" if label.shape else f"one number per {label.per}"


def check_target(name: str, task: TaskSpec, model: TypedModel, data: DataSpec) -> None:
    """Check one target against the model's outputs and the data's labels.

    Raises:
        SpecError: the target does not fit; the path starts at the root of the run config.
    """
    _check_output(name, task, model)
    _check_label(("task", "targets", name), task.targets[name], task.key(name), data)
    check_units(name, model.spec.outputs, task)


def check_output(name: str, task: TaskSpec, model: TypedModel) -> None:
    """Check one target only against the model's outputs; errors are those of :func:`check_target`."""
    _check_output(name, task, model)
    check_units(name, model.spec.outputs, task)


def _check_output(name: str, task: TaskSpec, model: TypedModel) -> None:
    path, target = ("task", "targets", name), task.targets[name]
    if target.unit is not None and (unknown := unknown_part(target.unit)) is not None:
        raise SpecError((*path, "unit"), *unknown)
    if name not in model.outputs:
        raise _no_output(path, name, target, model)
    _check_type(path, target, name, model)


def _way_to_convert(label: str, unit: str, data: DataSpec) -> str:
    """Return a hint for a target whose unit differs from the unit of the label inside e3frame."""
    quantity = quantity_of(label)
    if data.file_units is None or quantity is None or canonical(unit) not in quantity.units:
        return "remove the unit of the target"
    return f"remove the unit of the target; if the files are in {unit}, set data.units.{label}={unit}"


def _no_output(path: tuple[str, ...], name: str, target: TargetSpec, model: TypedModel) -> SpecError:
    if target.derive is not None:
        if target.of not in model.outputs:
            hint = did_you_mean(target.of or "", model.outputs, "outputs")
            return SpecError((*path, "of"), f"the model has no output '{target.of}'", hint)
        problem = f"the output '{name}' ({target.derive}) cannot be added: a layer of the model has this name"
        return SpecError(path, problem, "rename that layer", at_key=True)
    problem = f"the model has no output '{name}'"
    if (match := nearest(name, model.outputs)) is not None:
        return SpecError(path, problem, f"did you mean {match}?", at_key=True)
    return SpecError(path, f"{problem}; outputs: {', '.join(model.outputs)}", _way_to(name, target, model), at_key=True)


def _way_to(name: str, target: TargetSpec, model: TypedModel) -> str:
    """Suggest YAML that adds the output to the model, if a layer has the irreps for it."""
    field = target.type
    is_dipole = name == "dipole" and field == TensorType(Irreps("1o"), "graph")
    irreps = under(Irreps("0e + 1o") if is_dipole else field.irreps, model.spec.symmetry)
    wanted = {ir for _, ir in irreps}
    if field.domain == "edge":
        per_edge = [known.name for known in model.steps[-1].scope.bindings.values() if known.domain == "edge"]
        return f"make the output read a field per edge ({', '.join(per_edge)}), or add a nodes_to_edges layer"
    per_node = [known for known in model.steps[-1].scope.bindings.values() if known.domain == "node"]
    rich = [known.name for known in per_node if wanted <= {ir for _, ir in known.irreps}]
    widths = {known.name: min(known.irreps.count(ir) for ir in wanted) for known in per_node}
    if not rich:
        held = {ir for known in per_node for _, ir in known.irreps}
        missing = ", ".join(map(str, sorted(wanted - held))) or f"all of {irreps}"
        return f"no layer has {missing} per node: add them to irreps_out of a convolution, then add outputs.{name}"
    # The widest tensor, the last one of several: the readout of another output has too few copies.
    widest = max(reversed(rich), key=lambda name: widths[name])
    linear = f"{{kind: linear, of: {widest}, irreps_out: {irreps}}}"
    if field.domain == "node":
        return f"add outputs.{name}: {linear}"
    kind = "dipole" if is_dipole else "sum"
    return f"add layers.{name}_per_atom: {linear}\nand outputs.{name}: {{kind: {kind}, of: {name}_per_atom}}"


def _check_type(path: tuple[str, ...], target: TargetSpec, name: str, model: TypedModel) -> None:
    output, layer = model.outputs[name].field, model.spec.outputs[name]
    if target.derive is not None and (layer.kind != target.derive or layer.source != target.of):
        of = f" of {layer.source}" if layer.source else ""
        derived = f"{target.derive} of {target.of}"
        problem = f"the model's output '{name}' is the {layer.kind}{of}, but the target is the {derived}"
        hint = "describe the target by irreps and per instead of derive, or change the output"
        raise SpecError((*path, "derive"), problem, hint)
    if target.type.domain != output.domain:
        problem = f"the model's output '{name}' is per {output.domain}, but the target is per {target.type.domain}"
        raise SpecError((*path, "per"), problem)
    if under(target.type.irreps, model.spec.symmetry).simplify() != output.irreps.simplify():
        key = "irreps" if target.cartesian is None else "cartesian"
        wanted = str(target.type.irreps) if target.cartesian is None else f"{target.cartesian}: {target.type.irreps}"
        problem = f"the model's output '{name}' is {output.irreps}, but the target is {wanted}"
        raise SpecError((*path, key), problem)


def _check_label(path: tuple[str, ...], target: TargetSpec, key: str, data: DataSpec) -> None:
    at = "sum" if target.sum is not None else "key" if target.key is not None else None
    here = path if at is None else (*path, at)
    if key not in data.label_names:
        raise SpecError(here, f"the data have no label '{key}'", data.way_to(key), at_key=at is None)
    if (misfit := data.edge_misfit(key, target.label)) is not None:
        raise SpecError(here, *misfit, at_key=at is None)
    if (quantity := quantity_of(key)) is None:
        return
    label = label_of(quantity)
    if target.unit is not None and target.unit != quantity.unit:
        hint = _way_to_convert(key, target.unit, data)
        raise SpecError((*path, "unit"), f"the unit of '{key}' must be {quantity.unit}, got {shown(target.unit)}", hint)
    if target.label != label:
        shape = _form(label)
        needed = f"{target.label.shape} per {target.label.per}" if target.label.shape else f"one per {target.label.per}"
        hint = "if this is another label, name it with key"
        if label.shape == (3, 3):
            hint = "write cartesian: ij=ji instead of irreps"
        raise SpecError(here, f"the label '{key}' is {shape}, but the target needs {needed}", hint, at_key=at is None)

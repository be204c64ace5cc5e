"""Labels of the data with which a model is compared, and remarks about the others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from e3frame.config.checks import check_input, needed_labels, shifts_of
from e3frame.config.output_units import factors, require_file_units
from e3frame.config.targets import TargetSpec, TaskSpec, derivations
from e3frame.data.formats.frame_keys import as_array
from e3frame.data.pipeline.dataset import Splits
from e3frame.data.pipeline.frameset import FrameSet
from e3frame.data.pipeline.loader import first_frame, load
from e3frame.data.pipeline.single_atoms import SingleAtoms, set_apart
from e3frame.data.sources.base import DataSpec, Label
from e3frame.evaluate.labels import Held
from e3frame.inference.predictor import ENERGY, with_derivatives
from e3frame.inference.saved import SavedModel, cartesian_outputs
from e3frame.model import ModelSpec
from e3frame.spec.errors import DataError, SpecError, UserError, did_you_mean, nearest
from e3frame.spec.quantities import QUANTITIES


@dataclass(frozen=True)
class Comparison:
    """A model and the labelled data for it.

    Attributes:
        spec: the model, with forces and stress derived from its energy if the data may have such labels.
        task: the targets that are compared, and their labels.
        declared: targets of the training whose labels the data declare.
        data: the data; a frame may lack any of the labels.
    """

    spec: ModelSpec
    task: TaskSpec
    declared: frozenset[str]
    data: DataSpec

    @classmethod
    def of(cls, saved: SavedModel, data: DataSpec) -> Comparison:
        """Compare the targets of the training for which the data may have labels; of a model without a task, its
        outputs.

        Raises:
            UserError: there is no such target, or the data lack an input of the model.
        """
        targets = _targets(saved, data)
        whole = saved.task or TaskSpec(targets=targets)
        given, spec = {whole.key(name) for name in targets}, with_derivatives(saved.spec)
        derived = {
            name: TargetSpec(derive=layer.kind, of=ENERGY)
            for name, layer in spec.outputs.items()
            if layer.derives == name and name in data.label_names and name not in given | targets.keys()
        }
        if factors(spec.outputs, saved.task).get(ENERGY, 1.0) != 1:
            derived = {}  # their labels are in eV
        lenient = data.lenient(given)
        task = _found(whole.replace(targets=targets | derived), lenient)
        for name in saved.spec.inputs:
            try:
                check_input(name, saved.spec, task, data, trained=True)
            except SpecError as error:
                lines = [f"{saved.path}: {error.problem}", *(error.hint or "").splitlines()]
                raise UserError("\n  ".join(lines)) from None
        declared = frozenset(name for name in targets if whole.key(name) in data.label_names)
        return cls(spec if derived else saved.spec, task, declared, lenient)

    def load(self) -> tuple[Splits, SingleAtoms]:
        """The splits of the data, without the single atoms whose energies are the model's reference energies.

        Raises:
            DataError: the data cannot be read, or a label has another unit than its target.
        """
        require_file_units(self.task, self.data)
        r_max, labels = self.spec.r_max, needed_labels(self.spec, self.task)
        splits = load(self.data, r_max, labels, all_there=False)
        return set_apart(splits, shifts_of(self.spec, self.task, self.data))

    def labelled(self, splits: Mapping[str, FrameSet]) -> TaskSpec:
        """The targets of the training and those with labels in these splits.

        Raises:
            DataError: no frame has a label.
        """
        there = {name for name in self.task.targets if self._has(name, splits)}
        if not there:
            names = ", ".join(dict.fromkeys(self.task.key(name) for name in self.task.targets))
            files = ", ".join(dict.fromkeys(file for dataset in splits.values() for file in dataset.files))
            hints = list(self._ways(self.task.targets))
            raise DataError(f"no frame has a label {names}", file=files, hint="\n".join(hints) or None)
        return _found(self.task, self.data, {name for name in self.task.targets if name in there | self.declared})

    def remarks(self, splits: Mapping[str, FrameSet], chosen: Collection[str]) -> Iterator[str]:
        """Remarks about frames that are left out, missing labels, and labels that the model does not predict.

        Args:
            splits: all splits of the data.
            chosen: names of the evaluated ones.
        """
        total = sum(map(len, splits.values()))
        seen = sum(len(splits[name]) for name in chosen)
        if seen < total:
            yield f"{', '.join(chosen)}: {seen:,} of {total:,} frames; split=all uses all"
        compared = {name: splits[name] for name in chosen}
        absent = [name for name in self.task.targets if name in self.declared and not self._has(name, compared)]
        yield from self._ways(absent)
        known = {*(self.task.key(name) for name in self.task.targets), *self.spec.inputs}
        ignored = [name for name in self.data.label_names if name not in known]
        derived = [n for n in ignored if n in derivations().values() and ENERGY in self.spec.outputs]
        if derived and ENERGY in self.task.targets and self.task.unit(ENERGY) != QUANTITIES[ENERGY].unit:
            reason = f"because the model's energy is in {self.task.unit(ENERGY)}"
            yield f"labels not compared, {reason}: {', '.join(derived)}"
            ignored = [name for name in ignored if name not in derived]
        if ignored and self.data.paths:
            yield f"labels not compared, because the model does not predict them: {', '.join(ignored)}"

    def _has(self, name: str, splits: Mapping[str, FrameSet]) -> bool:
        key, per = self.task.key(name), self.task.targets[name].label.per
        return any(Held.of(dataset, key, per).there for dataset in splits.values())

    def _ways(self, targets: Collection[str]) -> Iterator[str]:
        """For labels that no frame has: the missing key, the key that may be meant, and all keys."""
        if not targets:
            return
        present, keys = first_frame(self.data), self.data.label_keys
        for name in targets:
            key = self.task.key(name)
            if keys[key] in present:
                yield f"the key '{keys[key]}' of {key} is NaN everywhere"
                continue
            problem = f"no frame has the key '{keys[key]}' of {key}"
            match = _alike(key, self.task.targets[name].label, present)
            yield problem + (f": did you mean data.keys.{key}={match}?" if match else "")
        if present:
            yield f"existing keys: {', '.join(sorted(present))}"


def _targets(saved: SavedModel, data: DataSpec) -> dict[str, TargetSpec]:
    if saved.task is not None:
        return dict(saved.task.targets)
    formulas = cartesian_outputs(saved.spec)
    return {
        name: TargetSpec(irreps=None if name in formulas else b.irreps, cartesian=formulas.get(name), per=b.domain)
        for name, b in saved.header.typed.outputs.items()
        if b.domain != "edge" or name in data.edge_labels
    }


def _found(task: TaskSpec, data: DataSpec, names: Collection[str] | None = None) -> TaskSpec:
    """The targets, all or those of ``names``, for which the data may have labels."""
    found = {name: t for name, t in task.targets.items() if task.key(name) in data.label_names}
    found = {name: target for name, target in found.items() if names is None or name in names}
    if not found:
        keys = [task.key(name) for name in task.targets]
        hint = did_you_mean(keys[0], data.label_names, "labels of the data")
        raise UserError(f"the data have none of the labels {', '.join(keys)}\n  {hint}")
    if not any(target.last_weight > 0 for target in found.values()):
        found = {name: target.replace(weight=1.0) for name, target in found.items()}
    return TaskSpec(targets=found)


def _alike(label: str, wanted: Label, present: Mapping[str, Any]) -> str | None:
    """The key that may be meant: of the right shape, with a similar name or the same first letter."""
    fitting = {}
    for key, value in present.items():
        array = as_array(value)
        shape = array.shape[1:] if wanted.per == "node" else array.shape
        if array.dtype.kind in "fiu" and (shape == wanted.shape or (wanted.shape == (3, 3) and array.size in (6, 9))):
            fitting[key] = value
    match = nearest(label, fitting)
    initials = [key for key in fitting if key[:1].lower() == label[0]]
    return match or (initials[0] if len(initials) == 1 else None)

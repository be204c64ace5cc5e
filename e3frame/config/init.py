"""Decides from two specs alone, without torch, which layers start from the weights of a trained model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from e3frame.config.header import Header
from e3frame.model import ModelSpec, TypedModel
from e3frame.spec.base import Spec, shown
from e3frame.spec.errors import FileError, SpecError, did_you_mean, dotted
from e3frame.spec.layer import Step
from e3frame.spec.validate import validate

Factor = Annotated[float, Field(gt=0)]


class InitSpec(Spec):
    """A trained model to start from. Layers are named as ``e3frame check`` shows them, or by patterns: ``conv*``."""

    model: str = Field(min_length=1)
    """File of the trained model, folder of its run, or runs/NAME for the newest run of that name. Without ``model=``,
    the new run uses the layers of the file."""
    reset: tuple[str, ...] = ()
    """Layers that start from random weights; required for layers that differ from those in the file."""
    freeze: tuple[str, ...] = ()
    """Layers whose weights are not trained."""
    lr: dict[str, Factor] = Field({})
    """Learning rate factor per layer, as {pattern: factor}; the first matching pattern applies."""

    def idle(self, transfer: Transfer) -> Iterator[SpecError]:
        """Yield the options that have no effect, with paths from this spec."""
        for pattern in self.lr:
            named = [name for name in (*transfer.kept, *transfer.new) if fnmatchcase(name, pattern)]
            if all(name in transfer.frozen for name in named):
                problem = f"frozen layers have no learning rate: {', '.join(named)}"
                yield SpecError(("lr", pattern), problem, "remove them from init.freeze or from init.lr")

    def plan(self, spec: ModelSpec, typed: TypedModel) -> Transfer:
        """Decide which layers take their weights from the file.

        Raises:
            SpecError: the model does not exist, a pattern matches no layer, or a layer differs and is not reset.
        """
        header = read_header(self.model, spec.plugins)
        path, held = header.path, header.spec
        if held.symmetry != spec.symmetry:
            problem = f"must equal the symmetry of {path}, {held.symmetry}; got {spec.symmetry}"
            raise SpecError(("model", "symmetry"), problem)
        layers = {step.binding.key: step for step in typed.steps if step.num_parameters}
        earlier = {step.binding.key: step for step in header.typed.steps if step.num_parameters}
        for key, patterns in (("reset", self.reset), ("freeze", self.freeze), ("lr", self.lr)):
            for pattern in patterns:
                if not any(fnmatchcase(name, pattern) for name in layers):
                    hint = did_you_mean(pattern, layers, "layers with weights")
                    raise SpecError(("init", key), f"no layer with weights is named {shown(pattern)}", hint)
        kept = [name for name in layers if name in earlier and not _matches(name, self.reset)]
        for name in kept:
            _require_fit(name, earlier[name], layers[name], path)
        if not kept:
            raise SpecError(
                ("init", "model"),
                f"every layer starts from random weights, so that no weights of {path} are used",
                did_you_mean("", earlier, "layers there"),
            )
        if held.r_max != spec.r_max:
            hint = "remove model= to take the layers and r_max from the file"
            raise SpecError(
                ("model", "r_max"), f"must equal the r_max of {path}, {held.r_max:g}; got {spec.r_max:g}", hint
            )
        if all(_matches(name, self.freeze) for name in layers):
            raise SpecError(("init", "freeze"), "all layers are frozen: there is nothing to train")
        frozen = tuple(name for name in layers if _matches(name, self.freeze))
        new = tuple(name for name in layers if name not in kept)
        return Transfer(path, held, tuple(kept), new, tuple(name for name in earlier if name not in layers), frozen)


@dataclass(frozen=True)
class Transfer:
    """Weights that a run takes from a trained model.

    Attributes:
        path, spec: file and spec of the trained model.
        kept, new, dropped: layers with weights from the file, with random weights, and only in the file.
        frozen: layers that are not trained.
    """

    path: Path
    spec: ModelSpec
    kept: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]
    frozen: tuple[str, ...]

    @property
    def text(self) -> str:
        """Summary with one line for each group of layers."""
        parts = {
            "weights from it": self.kept,
            "random weights": self.new,
            "not used": self.dropped,
            "frozen": self.frozen,
        }
        lines = [f"  {what}: {', '.join(names)}" for what, names in parts.items() if names]
        return "\n".join([f"starting from {self.path}", *lines])

    def species(self, model: ModelSpec) -> str:
        """Return a line for species that the trained model lacks, and one for those that only it has."""
        new = [symbol for symbol in model.species if symbol not in self.spec.species]
        dropped = [symbol for symbol in self.spec.species if symbol not in model.species]
        lines = [f"  new species, with random weights: {', '.join(new)}"] if new else []
        lines += [f"  species that the data do not have: {', '.join(dropped)}"] if dropped else []
        return "\n".join(lines)

    def known(self, model: ModelSpec) -> ModelSpec:
        """Return the model with the ``auto`` values of its layers from the file; others follow the data."""
        raw, held = model.model_dump(mode="json"), self.spec.model_dump(mode="json")
        return validate(ModelSpec, {**raw, "layers": _filled(raw["layers"], held["layers"])})


def architecture(path: str, plugins: Collection[str], targets: Collection[str]) -> dict[str, Any]:
    """Return the file's raw model spec for a new run, with species, scales and shifts reset to ``auto``.

    Args:
        path: the trained model.
        plugins: plugins that the user names.
        targets: targets of the new run; outputs without a target keep their scale and shift.

    Raises:
        SpecError: the model does not exist.
    """
    raw = read_header(path, plugins).spec.model_dump(mode="json")
    for name, output in raw["outputs"].items():
        if name in targets and output.get("per_species_scale_shift") is not None:
            output["per_species_scale_shift"] = "auto"
    return {**raw, "species": "auto"}


def read_header(path: str, plugins: Collection[str]) -> Header:
    """Read the header of the model to start from.

    Raises:
        SpecError: the model does not exist.
    """
    try:
        return Header.read(path, plugins)
    except FileError as error:
        raise SpecError(("init", "model"), f"{error.file}: {error.problem}", error.hint) from None


def lr_factor(init: InitSpec | None) -> Callable[[str], float]:
    """Return a function from the name of a parameter in the model to its learning rate factor."""
    patterns = {} if init is None else init.lr

    def factor(name: str) -> float:
        layer = layer_of(name)
        return next((value for pattern, value in patterns.items() if fnmatchcase(layer, pattern)), 1.0)

    return factor


def layer_of(parameter: str) -> str:
    """Return the layer of a parameter: ``conv`` for ``layers.conv.linear_1.weight``."""
    return parameter.split(".")[1]


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _require_fit(name: str, held: Step, given: Step, path: Path) -> None:
    """Raise SpecError at the first key in which a layer differs from that of the file."""
    found = list(_different(_described(held), _described(given)))
    if found:
        key, there, here = found[0]
        problem = f"'{name}' differs from {path}: {dotted(key)} is {shown(there)} there, {shown(here)} here"
        hint = (
            f"set init.reset=[{name}] to start it from random weights, or remove model= to use the layers of the file"
        )
        raise SpecError(("model", *given.path), problem, hint)


def _described(step: Step) -> dict[str, Any]:
    fields = {binding.key: binding.field for binding in step.scope.bindings.values()}
    inputs = [str(fields[key].irreps) for key in step.signature.read if key in fields]
    return {**step.spec.model_dump(mode="json", exclude={"of"}), "input": inputs}


def _different(held: Any, given: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    if isinstance(held, Mapping) and isinstance(given, Mapping):
        for key in held:
            yield from _different(held[key], given.get(key), (*path, key))
    elif held != given and given != "auto":
        yield path, held, given


def _filled(given: Any, held: Any) -> Any:
    if isinstance(given, Mapping) and isinstance(held, Mapping):
        return {key: _filled(value, held.get(key, value)) for key, value in given.items()}
    return held if given == "auto" else given

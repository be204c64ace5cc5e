"""Config of a training run, composed from the config groups.

Imports neither torch nor Lightning nor Hydra: a config is checked before any of them is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from e3frame.config.checks import check_input, check_target, needed_labels, shifts_of, with_derived
from e3frame.config.init import InitSpec, Transfer, architecture
from e3frame.config.loggers import LoggerSpec
from e3frame.config.optimizers import OptimizerSpec
from e3frame.config.schedulers import SchedulerSpec
from e3frame.config.targets import TaskSpec, way_to_learn
from e3frame.config.trainer import TrainerSpec
from e3frame.data.sources.base import AnyData, Label
from e3frame.files.regular import with_home
from e3frame.files.yaml_file import Composed
from e3frame.model import ModelSpec, TypedModel
from e3frame.spec.base import Spec, mistake, mistake_at, shown
from e3frame.spec.errors import SpecError, did_you_mean
from e3frame.spec.layer import Binding
from e3frame.spec.limits import too_many
from e3frame.spec.plugins import load, package_of
from e3frame.spec.registry import Kinded, OneOf
from e3frame.spec.statistics import Shifts, Statistics

__all__ = ["RunConfig", "TypedRun", "architecture", "typed_run"]


LONGEST_NAME = 100
"""Longest run name in bytes. File systems allow 255; the rest is for suffixes of sweeps and temporary files."""

_PROCESSES = (("trainer", "devices"), ("trainer", "num_threads"), ("data", "num_workers"), ("data", "processes"))
"""Keys that say how many processes or threads there are."""


_Place = Annotated[str, AfterValidator(lambda path: str(with_home(path)) if path[:1] == "~" else path)]


class RunConfig(Spec):
    """A training run."""

    plugins: tuple[str, ...] = ()
    """Plugins that define kinds of anything below: entry points of the group ``e3frame.plugins``, or modules. A module
    that is no entry point is imported only if the user names it too: ``plugins=my_kinds`` on the command line."""
    name: str = "run"
    """Name of the run."""
    folder: _Place | None = Field(default=None, min_length=1)
    """Folder of the results; null: runs/<name>/<date and time>. A run that stopped there is resumed."""
    ckpt: _Place | None = Field(default=None, min_length=1)
    """Checkpoint to resume: its file, the folder of its run (the newest one there), or last (the newest of
    runs/<name>); null: the newest in the folder."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Random seed for initial weights, frame order and dropout."""
    model: ModelSpec
    """Layers and outputs."""
    init: InitSpec | None = None
    """A trained model to start from; null: random weights."""
    data: AnyData
    """Frames to learn from."""
    task: TaskSpec
    """Targets to learn."""
    optimizer: OneOf[OptimizerSpec]
    """Optimizer of the weights."""
    scheduler: OneOf[SchedulerSpec]
    """How the learning rate changes."""
    trainer: TrainerSpec
    """Length, hardware and precision of the training."""
    logger: OneOf[LoggerSpec]
    """Where metrics go besides metrics.csv."""

    @model_validator(mode="before")
    @classmethod
    def _plugins_first(cls, raw: Any, info: ValidationInfo) -> Any:
        """Import plugins before reading the kinds that they define."""
        listed = raw.get("plugins") if isinstance(raw, Mapping) else None
        if isinstance(listed, list | tuple) and all(isinstance(plugin, str) for plugin in listed):
            try:
                load(listed, (info.context or {}).get("plugins", ()))
            except SpecError as error:
                raise mistake_at("plugins", listed, mistake(error.problem, error.hint)) from None
        return raw

    @field_validator("name")
    @classmethod
    def _a_folder_name(cls, name: str) -> str:
        if not name or name.startswith(".") or not all(char.isalnum() or char in "-_.+" for char in name):
            raise mistake(
                f"a name has only letters, digits and - _ . +, and does not begin with a dot; got {shown(name)}"
            )
        if len(name.encode()) > LONGEST_NAME:
            raise mistake(f"a name has at most {LONGEST_NAME} bytes, got {len(name.encode())}")
        return name

    @model_validator(mode="after")
    def _completed(self) -> RunConfig:
        """Add the outputs that targets derive from an energy, and list in the model the plugins that it needs."""
        model = with_derived(self.model, self.task)
        plugins = tuple(dict.fromkeys([*self.plugins, *model.plugins]))
        needed = tuple(plugin for plugin in plugins if plugin in model.plugins or _is_for_models(plugin))
        if needed != model.plugins:
            model = model.replace(plugins=needed)
        return self if model is self.model and plugins == self.plugins else self.replace(model=model, plugins=plugins)

    def typed(self) -> TypedRun:
        """Check the model, and that model and data provide what the targets need.

        Raises:
            SpecError: a part does not fit; the path starts at the root of the run config.
        """
        model = _typed_model(self.model, len(self.data.known_species or ()) or None)
        self._check_species()
        for name in self.model.inputs:
            check_input(name, self.model, self.task, self.data)
        for name in self.task.targets:
            check_target(name, self.task, model, self.data)
        self._check_schedule()
        self._check_noise()
        self._check_machine()
        size = self.data.batch_size
        if isinstance(size, int) and self.trainer.world > size:
            problem = f"must be at least the number of processes, {self.trainer.world}; got {size}"
            raise SpecError(("data", "batch_size"), problem)
        transfer = None if self.init is None else self.init.plan(self.model, model)
        statistics_of = self._statistics_of()
        warnings = tuple(warning.under("model") for warning in model.warnings)
        warnings += (*self._untrained(model.outputs), *self._unsound(), *self._idle(transfer))
        return TypedRun(self, model, warnings, *statistics_of, transfer)

    @property
    def needed_labels(self) -> dict[str, Label]:
        """Labels and inputs that are loaded with each frame."""
        return needed_labels(self.model, self.task)

    def _check_species(self) -> None:
        held, known = self.data.known_species or (), self.model.species
        unknown = [symbol for symbol in held if known != "auto" and symbol not in known]
        if unknown:
            raise SpecError(
                ("model", "species"),
                f"the data have {', '.join(held)}, but the model's species lack {', '.join(unknown)}",
                "add them, or write species: auto",
            )

    @property
    def monitors(self) -> tuple[str, ...]:
        """Metrics that decide on checkpoints and learning rates."""
        return tuple(self._monitors().values())

    def _monitors(self) -> dict[tuple[str, ...], str]:
        monitors: dict[tuple[str, ...], str] = {("trainer", "monitor"): self.trainer.monitor}
        if self.scheduler.monitored is not None:
            monitors["scheduler", "monitor"] = self.scheduler.monitored
        return monitors

    def _check_schedule(self) -> None:
        for path, monitor in self._monitors().items():
            if monitor not in self.task.metric_names:
                hint = did_you_mean(monitor, self.task.metric_names, "metrics")
                raise SpecError(path, f"no metric is named {shown(monitor)}", hint)
        lowest = self.scheduler.lowest_lr
        if lowest is not None and lowest >= self.optimizer.lr:
            problem = f"must be below optimizer.lr, {self.optimizer.lr:g}; got {lowest:g}"
            raise SpecError(("scheduler", "min_lr"), problem)

    def _check_machine(self) -> None:
        """Raise SpecError for more processes or threads than this machine can run; another machine may run them."""
        for path in _PROCESSES:
            number = getattr(getattr(self, path[0]), path[1], None)
            problem = None if number is None else too_many(number)
            if problem is not None:
                raise SpecError(path, *problem)

    def _check_noise(self) -> None:
        """Raise SpecError if labels that change with the positions are trained on randomly shifted atoms."""
        if self.data.augment is None:
            return
        for name, target in self.task.targets.items():
            derived = self.model.outputs[name].derives is not None
            if target.trained and (derived or self.task.key(name) in ("forces", "stress")):
                problem = f"atoms are shifted, but '{name}' is not: a shift of 0.01 Å changes forces by about 0.5 eV/Å"
                hint = f"remove data.augment, or set task.targets.{name}.weight=0"
                raise SpecError(("data", "augment", "noise"), problem, hint)

    def _statistics_of(self) -> tuple[str | None, str | None, bool]:
        """Return the labels from which ``auto`` scale and shift are computed, and whether the first is a mean."""
        outputs = self.model.outputs
        asking = [
            name
            for name, layer in outputs.items()
            if (given := layer.scale_shift) is not None and "auto" in (given.scale, given.shift)
        ]
        for name in asking:
            path = ("model", "outputs", name, "per_species_scale_shift")
            if name not in self.task.targets:
                raise SpecError(
                    path,
                    f"auto is computed from the labels of '{name}', but no target is named '{name}'",
                    "add the target (weight 0 leaves it untrained), or give numbers: {scale: 1.0, shift: 0.0}",
                )
            if name != asking[0]:
                problem = f"only one output can have auto scale and shift; '{asking[0]}' has them already"
                raise SpecError(path, problem, "give numbers")
        energy = (
            asking[0] if asking else next((n for n in outputs if n in self.task.targets and self._is_energy(n)), None)
        )
        forces = [
            name
            for name, layer in outputs.items()
            if layer.derives == "forces" and layer.source == energy and name in self.task.targets
        ]
        return (
            None if energy is None else self.task.key(energy),
            self.task.key(forces[0]) if forces else None,
            energy is not None and outputs[energy].extensive is False,
        )

    def _is_energy(self, name: str) -> bool:
        target = self.task.targets[name]
        return target.label == ("graph", ()) and target.sum is None and self.model.outputs[name].extensive is not None

    def _unsound(self) -> Iterator[SpecError]:
        """Yield warnings about settings that run but are probably mistakes."""
        if self.trainer.dtype == "bf16-mixed":
            problem = "bfloat16 has 3 digits: enough for a first test, too few for accurate energies and forces"
            yield SpecError(("trainer", "dtype"), problem, "train in float32 to the end")
        energies = [name for name in self.task.targets if self.task.key(name) == "energy"]
        if self.data.augment is not None and energies:
            problem = f"atoms are shifted, but the label of '{energies[0]}' is not"
            hint = "use augment for relaxed structures, not for trajectories"
            yield SpecError(("data", "augment", "noise"), problem, hint)
        if self.optimizer.averages:
            hint = "set scheduler=constant and trainer.ema_decay=null"
            kind = self.optimizer.kind
            if self.trainer.ema_decay is not None:
                problem = f"{kind} already averages its weights; a second average hides the first"
                yield SpecError(("trainer", "ema_decay"), problem, hint)
            if self.scheduler.lowers:
                yield SpecError(("scheduler", "kind"), f"{kind} needs no schedule", hint)

    def _idle(self, transfer: Transfer | None) -> Iterator[SpecError]:
        """Yield warnings about options that have no effect."""
        idle: dict[tuple[str, ...], Iterator[SpecError]] = {("trainer",): self.trainer.idle()}
        idle["scheduler",] = self.scheduler.idle(self.trainer)
        idle |= {("data",): self.data.idle(self.needed_labels, way_to_learn), ("optimizer",): self.optimizer.idle()}
        idle |= {("task", "targets", name): target.idle() for name, target in self.task.targets.items()}
        if self.init is not None and transfer is not None:
            idle["init",] = self.init.idle(transfer)
        for path, errors in idle.items():
            yield from (error.under(*path) for error in errors)

    def _untrained(self, outputs: Mapping[str, Binding]) -> Iterator[SpecError]:
        """Yield warnings about outputs of the model that have no target."""
        for name in outputs:
            layer = self.model.outputs[name]
            follows = layer.derives is not None and layer.source in self.task.targets
            if name in self.task.targets or (follows and layer.derives != "forces"):
                continue
            problem = f"no target trains the output '{name}'"
            if follows:
                problem += f": it is only derived from '{layer.source}', and much less accurate than with a target"
            labelled = name in self.data.label_names
            hint = f"if the data have {name}, add task.targets.{name}" if labelled else "add a target, or remove it"
            yield SpecError(("model", "outputs", name), problem, hint, at_key=True)


def _is_for_models(plugin: str) -> bool:
    """Whether a trained model needs the plugin, which may define kinds of data or optimizers alone."""
    package = package_of(plugin)
    kinds = [
        family.saved
        for family in Kinded.families()
        for kind in family.members.values()
        if kind.__module__.partition(".")[0] == package
    ]
    return any(kinds) or not kinds


@dataclass(frozen=True)
class TypedRun:
    """Checked run config, with the types of its model and its warnings.

    Attributes:
        warnings: probable mistakes, with paths from the root of the run config.
        energy_label: label whose least squares fit gives the reference energies, if there is one.
        forces_label: label whose root mean square gives the scale, if there is one.
        is_mean: whether the output with the energy label is a mean over the atoms, not a sum.
        transfer: weights that come from a trained model, if any.
    """

    config: RunConfig
    model: TypedModel
    warnings: tuple[SpecError, ...]
    energy_label: str | None
    forces_label: str | None
    is_mean: bool
    transfer: Transfer | None = None

    @property
    def shifts(self) -> Shifts | None:
        """Reference energies that frames of a single atom may define, or None if they are ordinary frames."""
        return shifts_of(self.config.model, self.config.task, self.config.data)

    def resolved(self, statistics: Statistics) -> TypedRun:
        """Return the run with every ``auto`` of its model replaced by its value from the training data.

        Raises:
            SpecError: the data have an element that the model lacks, or the model does not fit them.
        """
        known = self.config.model if self.transfer is None else self.transfer.known(self.config.model)
        spec = known.resolve(statistics)
        unknown = [symbol for symbol in statistics.species if symbol not in spec.species]
        if unknown:
            problem = (
                f"the training frames have {', '.join(statistics.species)}, but the model's species lack {unknown[0]}"
            )
            raise SpecError(("model", "species"), problem, "add it, or write species: auto")
        return replace(self, config=self.config.replace(model=spec), model=_typed_model(spec))


def _typed_model(spec: ModelSpec, num_species: int | None = None) -> TypedModel:
    try:
        return spec.typed(num_species)
    except SpecError as error:
        raise error.under("model") from None


def typed_run(composed: Composed) -> TypedRun:
    """Check a whole run config; each warning carries its position in the sources.

    Raises:
        SpecError: the config is wrong; the error is the first one in the sources, with its position.
    """
    return composed.typed(RunConfig, lambda config: config.typed())

"""A search as a spec: the space, what is sought, how, and how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from e3frame.spec.base import Spec, mistake, mistake_at
from e3frame.spec.limits import too_many
from e3frame.spec.registry import Kinded, OneOf
from e3frame.sweep.space import AnyParameter

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

COSTS = ("step_ms", "parameters")
"""Objectives that are measured beside the errors: the median time of a training step, and the number of weights."""


class SamplerSpec(Kinded, family="sampler"):
    """How the next point is chosen."""

    seed: int = 0
    """Of the choice: one worker with one seed tries the same points in every study."""

    def build(self, stream: int) -> BaseSampler:
        """The sampler of one point; ``stream`` tells the draws of the points apart."""
        raise NotImplementedError(f"{type(self).__name__}.build")


class RandomSpec(SamplerSpec):
    """Points at random."""

    kind: Literal["random"] = "random"

    def build(self, stream: int) -> BaseSampler:
        from optuna.samplers import RandomSampler

        return RandomSampler(seed=_mixed(self.seed, stream))


class TpeSpec(SamplerSpec):
    """Tree-structured Parzen estimator (Bergstra et al. 2011): points where good ones were."""

    kind: Literal["tpe"] = "tpe"
    startup_trials: int = Field(default=10, ge=1)
    """Points at random before that."""

    def build(self, stream: int) -> BaseSampler:
        from optuna.samplers import TPESampler

        return TPESampler(n_startup_trials=self.startup_trials, seed=_mixed(self.seed, stream), constant_liar=True)


class PrunerSpec(Kinded, family="pruner"):
    """Which trials are ended early, by the first objective after each validation."""

    def build(self, max_epochs: int | None) -> BasePruner:
        """The pruner of runs of at most so many epochs."""
        raise NotImplementedError(f"{type(self).__name__}.build")


class NoPruning(PrunerSpec):
    """Every trial goes on to its end."""

    kind: Literal["none"] = "none"

    def build(self, max_epochs: int | None) -> BasePruner:
        from optuna.pruners import NopPruner

        return NopPruner()


class MedianSpec(PrunerSpec):
    """Ends a trial whose best value so far is worse than the median of the others at the same epoch."""

    kind: Literal["median"] = "median"
    startup_trials: int = Field(default=5, ge=1)
    """Whole trials before any is ended."""
    warmup_epochs: int = Field(default=1, ge=0)
    """Epochs in which no trial is ended."""

    def build(self, max_epochs: int | None) -> BasePruner:
        from optuna.pruners import MedianPruner

        return MedianPruner(n_startup_trials=self.startup_trials, n_warmup_steps=self.warmup_epochs + 1)


class HyperbandSpec(PrunerSpec):
    """Hyperband (Li et al. 2018): brackets of successive halving, which differ in how early they begin."""

    kind: Literal["hyperband"] = "hyperband"
    min_epochs: int = Field(default=1, ge=1)
    """Epochs before the first trials are ended."""
    reduction_factor: int = Field(default=3, ge=2)
    """One of so many trials goes on from each rung."""

    def build(self, max_epochs: int | None) -> BasePruner:
        from optuna.pruners import HyperbandPruner

        last = "auto" if max_epochs is None else max(max_epochs, self.min_epochs)
        return HyperbandPruner(self.min_epochs, last, self.reduction_factor)


class SweepSpec(Spec):
    """A search over the space of some keys of the run config. All objectives are made small."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.+-]*$")]
    """Name of the study; everything is in runs/<name>, and the same name goes on with it."""
    overrides: tuple[str, ...] = ()
    """What all runs have in common, as on the command line of train; the command line comes after it."""
    space: dict[str, AnyParameter] = Field(min_length=1)
    """Keys of the run config, or groups of it, each with the values it may take."""
    objectives: tuple[str, ...] = Field(default=("val_loss",), min_length=1)
    """What is made small: errors of the validation such as val_forces_mae, and the costs step_ms and parameters."""
    sampler: OneOf[SamplerSpec] = TpeSpec()
    """How the next point is chosen."""
    pruner: OneOf[PrunerSpec] = NoPruning()
    """Which trials are ended early."""
    trials: int | None = Field(default=20, ge=1)
    """End after so many trials, whole or pruned; what was refused, repeated or killed is none. null: no limit."""
    hours: float | None = Field(default=None, gt=0)
    """Begin no trial after so many hours of trials, those of all workers together; null: no limit."""
    workers: int = Field(default=1, ge=1)
    """Processes on this machine, each of which runs one trial at a time."""
    max_parameters: int | None = Field(default=None, ge=1)
    """Refuse larger models before they are built; null: no limit."""
    retries: int = Field(default=3, ge=0)
    """How often a trial is begun again whose process died."""
    heartbeat: int = Field(default=30, ge=1)
    """Seconds between a worker's signs of life; after three times as long without one its trial counts as dead."""
    storage: str | None = None
    """Storage URL of Optuna, such as postgresql://host/db, for many machines; null: a SQLite file in the folder."""

    @model_validator(mode="after")
    def _consistent(self) -> SweepSpec:
        problem = too_many(self.workers)
        if problem is not None:
            raise mistake_at("workers", self.workers, mistake(*problem))
        if self.trials is None and self.hours is None:
            raise mistake("the search has no end", "set trials or hours")
        if len(set(self.objectives)) < len(self.objectives):
            twice = next(name for name in self.objectives if self.objectives.count(name) > 1)
            raise mistake_at("objectives", self.objectives, mistake(f"{twice} stands there twice"))
        if self.objectives[0] in COSTS and self.pruner.kind != "none":
            problem = f"trials are ended early by the first objective; {self.objectives[0]} does not change in a run"
            raise mistake_at("pruner", self.pruner.kind, mistake(problem, "put an error first, or write kind: none"))
        return self

    def definition(self) -> dict[str, Any]:
        """What may not change within one study."""
        whole = self.model_dump(mode="json")
        return {key: whole[key] for key in ("space", "objectives")}


def _mixed(seed: int, stream: int) -> int:
    return (seed * 1_000_003 + stream) % 2**32

"""Spec of a search: space, objectives, sampler, pruner and budget."""

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
"""Objectives besides the errors: the median time of a training step in ms, and the number of weights."""


class SamplerSpec(Kinded, family="sampler"):
    """Method that chooses the next point."""

    seed: int = 0
    """Random seed; with one worker, the same seed gives the same points."""

    def build(self, stream: int) -> BaseSampler:
        """The sampler of one point; ``stream`` is the number of the point, which makes its random numbers differ."""
        raise NotImplementedError(f"{type(self).__name__}.build")


class RandomSpec(SamplerSpec):
    """Points at random."""

    kind: Literal["random"] = "random"

    def build(self, stream: int) -> BaseSampler:
        from optuna.samplers import RandomSampler

        return RandomSampler(seed=_mixed(self.seed, stream))


class TpeSpec(SamplerSpec):
    """Tree-structured Parzen estimator (Bergstra et al. 2011): samples near good points."""

    kind: Literal["tpe"] = "tpe"
    startup_trials: int = Field(default=10, ge=1)
    """Number of random points at the start."""

    def build(self, stream: int) -> BaseSampler:
        from optuna.samplers import TPESampler

        return TPESampler(n_startup_trials=self.startup_trials, seed=_mixed(self.seed, stream), constant_liar=True)


class PrunerSpec(Kinded, family="pruner"):
    """Stops bad trials early, by their first objective after each validation."""

    def build(self, max_epochs: int | None) -> BasePruner:
        """The pruner of runs of at most ``max_epochs`` epochs."""
        raise NotImplementedError(f"{type(self).__name__}.build")


class NoPruning(PrunerSpec):
    """No pruning: every trial is trained to its end."""

    kind: Literal["none"] = "none"

    def build(self, max_epochs: int | None) -> BasePruner:
        from optuna.pruners import NopPruner

        return NopPruner()


class MedianSpec(PrunerSpec):
    """Stops a trial whose best value so far is worse than the median of the others at the same epoch."""

    kind: Literal["median"] = "median"
    startup_trials: int = Field(default=5, ge=1)
    """Complete trials before the first is pruned."""
    warmup_epochs: int = Field(default=1, ge=0)
    """Epochs of a trial before it can be pruned."""

    def build(self, max_epochs: int | None) -> BasePruner:
        from optuna.pruners import MedianPruner

        return MedianPruner(n_startup_trials=self.startup_trials, n_warmup_steps=self.warmup_epochs + 1)


class HyperbandSpec(PrunerSpec):
    """Hyperband (Li et al. 2018): brackets of successive halving with different starts."""

    kind: Literal["hyperband"] = "hyperband"
    min_epochs: int = Field(default=1, ge=1)
    """Epochs before the first trials are pruned."""
    reduction_factor: int = Field(default=3, ge=2)
    """One of this many trials continues at each rung."""

    def build(self, max_epochs: int | None) -> BasePruner:
        from optuna.pruners import HyperbandPruner

        last = "auto" if max_epochs is None else max(max_epochs, self.min_epochs)
        return HyperbandPruner(self.min_epochs, last, self.reduction_factor)


class SweepSpec(Spec):
    """A search over keys of the run config. All objectives are minimized."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.+-]*$")]
    """Name of the study, stored in runs/<name>; the same name resumes it."""
    overrides: tuple[str, ...] = ()
    """Overrides shared by all runs; those of the command line come after them."""
    space: dict[str, AnyParameter] = Field(min_length=1)
    """Keys or groups of the run config, each with the values to try."""
    objectives: tuple[str, ...] = Field(default=("val_loss",), min_length=1)
    """Objectives to minimize: validation errors such as val_forces_mae, and the costs step_ms and parameters."""
    sampler: OneOf[SamplerSpec] = TpeSpec()
    """Method that chooses the next point."""
    pruner: OneOf[PrunerSpec] = NoPruning()
    """Rule that stops trials early."""
    trials: int | None = Field(default=20, ge=1)
    """Trials after which the search ends; null: no limit. Refused, repeated and killed trials do not count."""
    hours: float | None = Field(default=None, gt=0)
    """Hours of trials, summed over all workers, after which no new trial starts; null: no limit."""
    workers: int = Field(default=1, ge=1)
    """Processes on this machine; each runs one trial at a time."""
    max_parameters: int | None = Field(default=None, ge=1)
    """Largest number of weights; larger models are refused before they are built. null: no limit."""
    retries: int = Field(default=3, ge=0)
    """Number of restarts of a trial whose process died."""
    heartbeat: int = Field(default=30, ge=1)
    """Seconds between heartbeats of a worker; after three missed ones its trial counts as dead."""
    storage: str | None = None
    """Optuna's storage URL, such as postgresql://host/db, for several machines; null: a SQLite file in the folder."""

    @model_validator(mode="after")
    def _consistent(self) -> SweepSpec:
        excess = too_many(self.workers)
        if excess is not None:
            raise mistake_at("workers", self.workers, mistake(*excess))
        if self.trials is None and self.hours is None:
            raise mistake("the search has no end", "set trials or hours")
        if len(set(self.objectives)) < len(self.objectives):
            twice = next(name for name in self.objectives if self.objectives.count(name) > 1)
            raise mistake_at("objectives", self.objectives, mistake(f"{twice} is listed twice"))
        if self.objectives[0] in COSTS and self.pruner.kind != "none":
            problem = f"the pruner uses the first objective, but {self.objectives[0]} is constant during a run"
            raise mistake_at(
                "pruner", self.pruner.kind, mistake(problem, "put an error first, or set sweep.pruner.kind=none")
            )
        return self

    def definition(self) -> dict[str, Any]:
        """The settings that may not change within one study."""
        whole = self.model_dump(mode="json")
        return {key: whole[key] for key in ("space", "objectives")}


def _mixed(seed: int, stream: int) -> int:
    return (seed * 1_000_003 + stream) % 2**32

"""The training of one trial, watched by the study."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console

from e3frame.config.run import TypedRun
from e3frame.files.written import open_log
from e3frame.spec.errors import DataError, SpecError, UserError
from e3frame.sweep.study import Search

if TYPE_CHECKING:
    import optuna

    from e3frame.training.observer import Observer


class Failed(Exception):
    """The training failed, for example with a loss that is not finite."""


class Interrupted(Exception):
    """SIGINT or SIGTERM was received, or the parent process has ended."""


@dataclass
class Attempt:
    """One run, in a folder of its own.

    Args:
        search: the study.
        trial: Optuna's.
        typed: the run, checked when the trial was proposed.
        parent: the parent process; when it ends, so does the training.
    """

    search: Search
    trial: optuna.Trial
    typed: TypedRun
    parent: int
    _epochs: dict[int, Mapping[str, float]] = field(default_factory=dict, init=False)
    _pruning: optuna.Trial | None = field(default=None, init=False)

    def run(self) -> tuple[float, ...]:
        """Train, and return the objectives at the epoch of the best checkpoint.

        Raises:
            optuna.TrialPruned, Failed, Interrupted: the training did not complete.
            UserError: something is wrong with the data or the folder.
        """
        import optuna

        self.trial.set_user_attr("config", self.typed.config.model_dump(mode="json"))
        self.trial.set_user_attr("parameters", self.typed.model.num_parameters)
        with self.search.pruning(self.trial) as self._pruning:
            try:
                values = self._train()
            except optuna.TrialPruned as pruned:
                self.trial.set_user_attr("reason", str(pruned))
                raise
        return values

    def _train(self) -> tuple[float, ...]:
        from e3frame.run.training import run
        from e3frame.training.observer import Observer

        folder = self.search.folder / "trials" / f"{self.trial.number:04d}"
        observer = Observer(self._validated)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with open_log(folder / "log.txt") as log:
                run(self.typed, folder, Console(file=log, width=120), [observer])
        except KeyboardInterrupt:
            raise Interrupted from None
        except OSError as error:
            raise UserError(f"{folder}: {error.strerror or error}") from None
        except (SpecError, DataError):
            raise
        except UserError as error:
            if observer.interrupted:
                raise Interrupted from None
            if observer.began:
                raise Failed(str(error).splitlines()[0]) from None
            raise
        finally:
            if observer.began:
                self.trial.set_user_attr("step_ms", observer.step_ms)
        return self._values(observer)

    def _validated(self, epoch: int, metrics: Mapping[str, float]) -> None:
        import optuna

        if os.getppid() != self.parent:
            raise KeyboardInterrupt
        self._epochs[epoch] = metrics
        self.trial.set_user_attr("epoch", epoch)
        if self._pruning is not None:
            self._pruning.report(metrics[self.search.spec.objectives[0]], epoch)
            if self._pruning.should_prune():
                raise optuna.TrialPruned(f"after epoch {epoch}")

    def _values(self, observer: Observer) -> tuple[float, ...]:
        if not self._epochs:
            raise UserError("a search needs validation frames\n  set data.split.val or data.val_path")
        best = min(self._epochs.values(), key=lambda metrics: metrics[self.typed.config.trainer.monitor])
        known = {**best, "step_ms": observer.step_ms, "parameters": float(self.typed.model.num_parameters)}
        return tuple(known[name] for name in self.search.spec.objectives)

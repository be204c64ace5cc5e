"""A worker process of a search: takes points, trains them and stores the results."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from e3frame.config.run import RunConfig, TypedRun
from e3frame.spec.errors import SpecError, UserError
from e3frame.sweep.attempt import Attempt, Failed, Interrupted
from e3frame.sweep.points import suggest, too_large
from e3frame.sweep.storage import storage_errors
from e3frame.sweep.study import Search
from e3frame.sweep.trials import Trial

if TYPE_CHECKING:
    import optuna

_IN_A_ROW = 100
"""Points in a row without a training, after which the space counts as exhausted."""
_TRIED = 1_000
"""Size of a space up to which every point is tried, even if all are refused."""
_FAILURES = 5
"""Failed trainings in a row, after which the points are not to blame."""


class _Withdrawn(Exception):
    """Another worker took the last trial of the budget."""


@dataclass
class Worker:
    """Works on a study until its budget is used up.

    Args:
        search: the study.
        typed: gives the checked run config of a trial's overrides.
        base: the run config shared by the trials.
        threads: threads of runs that do not set a number.
        parent: the parent process.
    """

    search: Search
    typed: Callable[[Sequence[str]], TypedRun]
    base: RunConfig
    threads: int
    parent: int
    _idle: int = field(default=0, init=False)
    _failed: int = field(default=0, init=False)
    _last: str = field(default="", init=False)

    def work(self) -> None:
        """Take points until the budget is used up, or until the parent process has ended.

        Raises:
            UserError: an error that no other point would avoid, such as in the data; or no point is left.
            KeyboardInterrupt: SIGINT or SIGTERM was received; the trial is queued again.
        """
        search = self.search
        with storage_errors(search.spec.storage):
            search.study.pruner = search.spec.pruner.build(self.base.trainer.max_epochs)
            while os.getppid() == self.parent:
                search.revive()
                trials = search.trials()
                if search.is_over(trials):
                    return
                if not search.has_room(trials):
                    time.sleep(min(2.0, search.spec.heartbeat / 2))  # a running trial may still die
                    continue
                search.study.optimize(self._trial, n_trials=1, catch=(_Withdrawn,))
                self._give_up()

    def _give_up(self) -> None:
        points = self.search.points
        if self._idle >= _IN_A_ROW and (points is None or self._idle > 2 * points.size or points.size > _TRIED):
            raise UserError(f"{self._idle} points in a row were refused or already tried\n  {self._last}")
        if self._failed >= _FAILURES:
            raise UserError(f"{self._failed} trials in a row failed\n  {self._last}")

    def _trial(self, trial: optuna.Trial) -> tuple[float, ...]:
        """Optuna's objective function."""
        search = self.search
        search.storage.record_heartbeat(trial._trial_id)  # before it says who it is: see Search.revive
        trial.set_user_attr("worker", f"{socket.gethostname()}:{os.getpid()}")
        if not search.has_room([other for other in search.trials() if other.number < trial.number]):
            trial.set_user_attr("outcome", "withdrawn")
            raise _Withdrawn
        search.study.sampler = search.spec.sampler.build(search.stream(trial))
        overrides = suggest(search.spec, trial)
        self._idle += 1
        twin = self._twin(trial)
        if twin is not None:
            search.go_elsewhere(search.trials(), trial.number)
            return self._repeated(trial, twin)
        try:
            typed = self.typed(overrides)
        except UserError as error:
            raise self._refused(trial, _in_short(error)) from None
        if reason := too_large(typed, search.spec):
            trial.set_user_attr("limit", search.spec.max_parameters)
            raise self._refused(trial, reason)
        self._idle = 0
        return self._attempt(trial, typed)

    def _twin(self, trial: optuna.Trial) -> Trial | None:
        """A trial of the same point that takes precedence.

        Of two workers that chose a point at the same time, the later one gives way if it has seen the earlier; so the
        earlier waits until the other has given way or begun.
        """
        search = self.search
        while True:
            same = [o for o in search.trials() if o.number != trial.number and search.is_same(o.point, trial.params)]
            running = [other for other in same if other.outcome == "running"]
            first = [other for other in running if other.number < trial.number or other.config is not None]
            done = [other for other in same if search.is_taken(other) and other not in running]
            if done or first or not running:
                return next(iter((*done, *first)), None)
            time.sleep(0.1)
            search.revive()

    def _repeated(self, trial: optuna.Trial, twin: Trial) -> tuple[float, ...]:
        """Reuse the result of a trial with the same config."""
        reason = f"the same as trial {twin.number}"
        if twin.outcome != "complete" or twin.values is None:
            raise self._refused(trial, reason, "repeated")
        trial.set_user_attr("outcome", "repeated")
        trial.set_user_attr("reason", reason)
        self._last = reason
        return twin.values

    def _refused(self, trial: optuna.Trial, reason: str, outcome: str = "refused") -> Exception:
        import optuna

        trial.set_user_attr("outcome", outcome)
        trial.set_user_attr("reason", reason)
        self._last = reason
        return optuna.TrialPruned(reason)

    def _attempt(self, trial: optuna.Trial, typed: TypedRun) -> tuple[float, ...]:
        config = typed.config
        if config.trainer.num_threads is None:
            trainer = config.trainer.replace(num_threads=self.threads)
            typed = replace(typed, config=config.replace(trainer=trainer))
        try:
            values = Attempt(self.search, trial, typed, self.parent).run()
        except SpecError as error:  # the config does not fit the data, or this machine
            raise self._refused(trial, _in_short(error)) from None
        except Failed as error:
            self._failed += 1
            raise self._refused(trial, str(error), "failed") from None
        except Interrupted:
            trial.set_user_attr("outcome", "dead")
            self.search.retry(trial, 0)
            raise KeyboardInterrupt from None
        except UserError:
            trial.set_user_attr("outcome", "dead")
            raise
        self._failed = 0
        return values


def _in_short(error: UserError) -> str:
    """The key and the problem, on one line."""
    if isinstance(error, SpecError):
        return f"{'.'.join(map(str, error.path))}: {error.problem.splitlines()[0]}"
    return ", ".join(line.strip() for line in str(error).splitlines())

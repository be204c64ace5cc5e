"""A study in Optuna's storage: opened, counted, and its trials retried whose worker died."""

from __future__ import annotations

import json
import os
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e3frame.files.regular import require_regular
from e3frame.spec.base import shown
from e3frame.spec.errors import UserError
from e3frame.sweep.space import Points
from e3frame.sweep.spec import COSTS, SweepSpec
from e3frame.sweep.storage import GRACE, open_storage, storage_errors
from e3frame.sweep.trials import Outcome, Trial

if TYPE_CHECKING:
    import optuna
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial


@dataclass
class Search:
    """An open study.

    Attributes:
        folder: holds the trials' runs and all results.
    """

    spec: SweepSpec
    folder: Path
    study: optuna.Study
    storage: RDBStorage

    @cached_property
    def points(self) -> Points | None:
        """The points of the space; None if it is not finite."""
        return Points.of(self.spec.space)

    def trials(self) -> list[Trial]:
        """All trials so far, in order."""
        return [_trial(frozen, self.spec) for frozen in self.study.get_trials(deepcopy=False)]

    def has_room(self, trials: Sequence[Trial]) -> bool:
        """Whether the budget and the space allow one more trial."""
        taken = sum(trial.counts or trial.outcome == "running" for trial in trials)
        within = (self.spec.trials is None or taken < self.spec.trials) and not self.out_of_time(trials)
        return within and not self.used_up(trials)

    def used_up(self, trials: Sequence[Trial]) -> bool:
        """Whether every point of the space is done, refused or running."""
        if self.points is None:
            return False
        taken = {self.points.number(trial.point) for trial in trials if self.is_taken(trial)}
        return len(taken - {None}) == self.points.size

    def is_taken(self, trial: Trial) -> bool:
        """Whether the point of a trial needs no other trial; a model refused for its size may be tried again."""
        refused = trial.outcome == "refused" and trial.limit in (None, self.spec.max_parameters)
        return trial.counts or refused or trial.outcome == "running"

    def is_same(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        """Whether two points are equal, up to rounding if the space is finite."""
        if self.points is None:
            return dict(one) == dict(other)
        return self.points.number(one) == self.points.number(other) is not None

    def go_elsewhere(self, trials: Sequence[Trial], seed: int) -> None:
        """Queue a point that has not been tried, if the space is small enough to list."""
        if self.points is None:
            return
        waits = [trial for trial in trials if self.is_taken(trial) or trial.outcome == "waiting"]
        point = self.points.another({self.points.number(trial.point) for trial in waits}, seed)
        if point is not None:
            self.study.enqueue_trial(point)

    def out_of_time(self, trials: Sequence[Trial]) -> bool:
        """Whether the hours are used up."""
        spent = sum(trial.seconds for trial in trials if trial.counts)
        return self.spec.hours is not None and spent >= 3600 * self.spec.hours

    def is_over(self, trials: Sequence[Trial]) -> bool:
        """Whether no trial is running and no further one is allowed."""
        return not self.has_room(trials) and not any(trial.outcome == "running" for trial in trials)

    def stream(self, trial: optuna.Trial) -> int:
        """The number of earlier points: the random stream of this one, unchanged by retries."""
        origin = trial.user_attrs.get("origin", trial.number)
        earlier = self.study.get_trials(deepcopy=False)[:origin]
        return sum("origin" not in frozen.user_attrs for frozen in earlier)

    def revive(self) -> None:
        """Mark trials whose worker died as failed, and queue their points again."""
        import optuna

        optuna.storages.fail_stale_trials(self.study)
        for frozen in self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            # Killed before its first heartbeat, which comes before it names its worker.
            age = (datetime.now() - (frozen.datetime_start or datetime.now())).total_seconds()
            if "worker" not in frozen.user_attrs and age > GRACE * self.spec.heartbeat:
                self.study.tell(frozen.number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
                self.retry(frozen, 1)

    @contextmanager
    def pruning(self, trial: optuna.Trial) -> Iterator[optuna.Trial | None]:
        """A trial that receives the first objective after each validation and may stop; None without a pruner.

        Optuna prunes only studies with one objective. With several, the first is reported to a second study beside this
        one, whose trials have no parameters.
        """
        import optuna

        if self.spec.pruner.kind == "none":
            yield None
        elif len(self.spec.objectives) == 1:
            yield trial
        else:
            companion = optuna.create_study(
                study_name=f"{self.spec.name}/pruning",
                storage=self.storage,
                pruner=self.study.pruner,
                load_if_exists=True,
            )
            follower = companion.ask()
            try:
                yield follower
            except optuna.TrialPruned:
                companion.tell(follower, state=optuna.trial.TrialState.PRUNED)
                raise
            except BaseException:
                companion.tell(follower, state=optuna.trial.TrialState.FAIL)
                raise
            reported = companion.get_trials(deepcopy=False)[follower.number].intermediate_values
            companion.tell(follower, reported[max(reported)])

    def retry(self, trial: optuna.Trial | FrozenTrial, deaths: int) -> None:
        """Queue the point of a trial again, unless it has died too often.

        Args:
            deaths: 1 if its process died, 0 if it was stopped.
        """
        deaths += trial.user_attrs.get("deaths", 0)
        if deaths <= self.spec.retries:
            origin = trial.user_attrs.get("origin", trial.number)
            self.study.enqueue_trial(dict(trial.params), user_attrs={"origin": origin, "deaths": deaths})


def open_search(spec: SweepSpec, base: Mapping[str, Any], folder: Path) -> Search:
    """Open the study of a sweep: a new one, or the one of that name.

    Args:
        base: the run config shared by all trials.

    Raises:
        UserError: the storage cannot be opened, or its study of this name has another space.
    """
    optuna = import_optuna()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", message="Heartbeat of storage")  # the companion of pruning has none
    warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes")  # low values, as is meant
    _prepare(folder)
    if not spec.storage:
        _require_study(folder / "study.db")
    url = spec.storage or f"sqlite:///{folder / 'study.db'}"
    search: list[Search] = []

    def died(_: Study, frozen: FrozenTrial) -> None:
        search[0].retry(frozen, 1)

    with storage_errors(spec.storage):
        storage = open_storage(url, spec.heartbeat, died)
        study = optuna.create_study(
            study_name=spec.name,
            storage=storage,
            directions=["minimize"] * len(spec.objectives),
            load_if_exists=True,
        )
    search.append(Search(spec, folder, study, storage))
    _same_definition(study, {**spec.definition(), "base": dict(base)}, spec, folder)
    return search[0]


def import_optuna() -> Any:
    """Import Optuna, which is an optional dependency.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise UserError("a search needs Optuna\n  pip install optuna") from None
    return optuna


def _prepare(folder: Path) -> None:
    try:
        (folder / "trials").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder} cannot be written: Permission denied")


def _require_study(file: Path) -> None:
    """Raise UserError if the database is not of a search."""
    if not file.exists():
        return
    try:
        require_regular(file)
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.OperationalError:  # such as a locked file: opening it gives the message
        return
    except (OSError, sqlite3.Error) as error:
        raise UserError(f"{file}\n  not the database of a search: {error}\n  choose another sweep.name") from None
    if tables and "studies" not in tables:
        raise UserError(f"{file}\n  this database belongs to another program\n  choose another sweep.name")


def _require_empty(folder: Path) -> None:
    """Raise UserError if the folder of a new study has results."""
    patterns = ("best.yaml", "sweep.html", "*.png", "worker_*.log", "trials/*")
    held = sorted(str(path.relative_to(folder)) for pattern in patterns for path in folder.glob(pattern))
    if held:
        names = ", ".join(held[:3]) + (f" and {len(held) - 3} more" if len(held) > 3 else "")
        raise UserError(
            f"{folder} already contains {names} but no search\n  choose another sweep.name, or move them away"
        )


def _same_definition(study: optuna.Study, definition: Mapping[str, Any], spec: SweepSpec, folder: Path) -> None:
    held = study.user_attrs.get("definition")
    now = json.loads(json.dumps(definition))
    if held is None:
        _require_empty(folder)
        study.set_user_attr("definition", now)
    elif held != now:
        where, before, after = next(_differences(held, now, ""))
        raise UserError(
            f"the study {spec.name} has other settings\n"
            f"  {where} is {shown(before)} there, {shown(after)} here\n"
            "  choose another sweep.name, or restore this setting"
        )


def _differences(before: Any, after: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _differences(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif before != after or type(before) is not type(after):
        yield path.removeprefix("base."), before, after


def _trial(frozen: FrozenTrial, spec: SweepSpec) -> Trial:
    attrs = frozen.user_attrs
    measured: dict[str, float] = {name: float(attrs[name]) for name in COSTS if name in attrs}
    values = None if frozen.values is None else tuple(frozen.values)
    measured |= dict(zip(spec.objectives, values or (), strict=False))
    end = frozen.datetime_complete or datetime.now()
    return Trial(
        number=frozen.number,
        outcome=_outcome(frozen, spec),
        point=dict(frozen.params or frozen.system_attrs.get("fixed_params", {})),
        values=values,
        reason=attrs.get("reason", ""),
        epoch=attrs.get("epoch", 0),
        seconds=(end - frozen.datetime_start).total_seconds() if frozen.datetime_start else 0.0,
        measured=measured,
        config=attrs.get("config"),
        limit=attrs.get("limit"),
    )


def _outcome(frozen: FrozenTrial, spec: SweepSpec) -> Outcome:
    state, noted = frozen.state.name, frozen.user_attrs.get("outcome")
    if state in ("WAITING", "RUNNING"):
        return "waiting" if state == "WAITING" else "running"
    if state == "FAIL" and noted is None:
        return "given up" if frozen.user_attrs.get("deaths", 0) >= spec.retries else "dead"
    return noted or ("complete" if state == "COMPLETE" else "pruned")

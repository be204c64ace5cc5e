"""Turns a point of the space into a checked run config, or into the reason why it is invalid."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice, product
from typing import TYPE_CHECKING, Any

from e3frame.config.run import RunConfig, TypedRun
from e3frame.files.sources import Sources
from e3frame.spec.errors import SpecError, UserError, did_you_mean
from e3frame.sweep.space import Choices
from e3frame.sweep.spec import COSTS, SweepSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna import Trial

    from e3frame.compose import Composed, Composer

_BARE = re.compile(r"(?!(?:true|false|null|nan|inf)$)[A-Za-z_][\w/-]*", re.IGNORECASE)
_MANY = 200
"""Points that are tried before a key counts as unknown, or the space as ill-typed."""


def suggest(spec: SweepSpec, trial: Trial) -> list[str]:
    """The overrides of a trial, one for each entry of the space."""
    return [override(key, parameter.suggest(key, trial)) for key, parameter in spec.space.items()]


def override(key: str, value: Any) -> str:
    """``key=value`` in Hydra's grammar.

    >>> override("model.irreps.hidden", "8x0e + 8x1o")
    "model.irreps.hidden='8x0e + 8x1o'"
    >>> override("optimizer.betas", [0.9, 0.99]), override("optimizer", "adamw")
    ('optimizer.betas=[0.9,0.99]', 'optimizer=adamw')
    """
    return f"{key}={_quoted(value)}"


def _quoted(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_quoted(key)}:{_quoted(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_quoted, value)) + "]"
    if isinstance(value, str):
        return value if _BARE.fullmatch(value) else "'" + value.replace("'", "\\'") + "'"
    return json.dumps(value)


def too_large(typed: TypedRun, spec: SweepSpec) -> str:
    """The reason if a model is too large, else an empty text.

    If the species are known only once the data are read, one species is counted.
    """
    number, limit = typed.model.num_parameters, spec.max_parameters
    return f"{number:,} parameters, more than {limit:,}" if limit is not None and number > limit else ""


def check(
    spec: SweepSpec, sources: Sources, composer: Composer, typed_run: Callable[[Composed], TypedRun]
) -> RunConfig:
    """Check a search, and return the run config shared by all trials, which need not be well-typed.

    Args:
        sources: places of the spec, with paths from ``sweep``.
        composer: has the overrides shared by all trials.
        typed_run: checks a config as a whole.

    Raises:
        UserError: the config is wrong; an entry of the space is not a key, or has a value that its key never takes; an
            objective is not measured; or no point is well-typed.
    """
    try:
        base = composer.compose().parse(RunConfig)
    except SpecError as error:
        raise _at_its_line(error, spec, sources) from None
    _check_objectives(spec, sources, base)
    groups = {key: parameter for key, parameter in spec.space.items() if not composer.is_value(override(key, 0))}
    for key, parameter in groups.items():
        if not isinstance(parameter, Choices):
            problem = f"'{key}' is a config group: a list of names is required"
            raise sources.place(SpecError(("sweep", "space", key), problem))
        for index, name in enumerate(parameter.choices):
            _check_group(key, index, name, sources, composer)
    choices = [[override(key, value) for value in parameter.examples()] for key, parameter in groups.items()]
    combinations = list(product(*choices))[:_MANY]
    for key, parameter in spec.space.items():
        if key in groups:
            continue
        for value in parameter.examples():
            _check_value(key, value, combinations, sources, composer)
    try:
        _check_some_point(spec, composer, typed_run)
    except SpecError as error:
        raise _at_its_line(error, spec, sources) from None
    return base


def _check_some_point(spec: SweepSpec, composer: Composer, typed_run: Callable[[Composed], TypedRun]) -> None:
    """Raise the error of the shared config, if it and every point are ill-typed."""
    try:
        typed_run(composer.compose())
    except SpecError as error:
        values = [[override(key, value) for value in parameter.examples()] for key, parameter in spec.space.items()]
        for point in islice(product(*values), _MANY):
            with suppress(SpecError):
                typed_run(composer.compose(point))
                return
        raise error


def _check_objectives(spec: SweepSpec, sources: Sources, config: RunConfig) -> None:
    known = (*config.task.metric_names, *COSTS)
    for index, name in enumerate(spec.objectives):
        if name not in known:
            hint = did_you_mean(name, known, "objectives")
            raise sources.place(SpecError(("sweep", "objectives", index), f"no objective is named {name}", hint))


def _check_group(key: str, index: int, name: Any, sources: Sources, composer: Composer) -> None:
    try:
        composer.compose([override(key, name)])
    except SpecError as error:
        raise sources.place(SpecError(("sweep", "space", key, index), error.problem, error.hint)) from None


def _check_value(
    key: str, value: Any, combinations: Sequence[Sequence[str]], sources: Sources, composer: Composer
) -> None:
    """Raise SpecError if the key takes the value with no choice of groups."""
    path, wrong = tuple(key.split(".")), []
    for combination in combinations:
        missing = _missing(composer.compose(combination).raw, path)
        if missing is not None:
            wrong.append(missing)
            continue
        try:
            composer.compose([*combination, override(key, value)]).parse(RunConfig)
            return
        except SpecError as error:
            at = tuple(map(str, error.path))
            if at[: len(path)] != path:
                return  # a conflict with another key, which another trial may resolve
            wrong.append(SpecError(at[len(path) :], error.problem, error.hint, at_key=error.problem == "unknown key"))
    if wrong:
        first = wrong[0]
        problem = f"{'.'.join(map(str, first.path))}: {first.problem}" if first.path else first.problem
        raise sources.place(SpecError(("sweep", "space", key), problem, first.hint, at_key=first.at_key))


def _missing(raw: Any, path: tuple[str, ...]) -> SpecError | None:
    """The error of a key whose parent mapping does not exist; the spec checks the key itself."""
    for depth, part in enumerate(path[:-1]):
        if not isinstance(raw, Mapping):
            return None
        if part not in raw:
            return SpecError(
                tuple(path[: depth + 1]), "this key does not exist", did_you_mean(part, raw, "keys"), at_key=True
            )
        raw = raw[part]
    return None


def _at_its_line(error: SpecError, spec: SweepSpec, sources: Sources) -> SpecError:
    """The error with its place in the sweep's file, if its override is written there and not on the command line."""
    for index, text in enumerate(spec.overrides):
        if error.source == f"command-line override {text}":
            place = sources.place(SpecError(("sweep", "overrides", index), error.problem))
            return SpecError(error.path, error.problem, error.hint, source=place.source)
    return error


def grid_message(refused: Sequence[tuple[Sequence[str], UserError]], points: int) -> Iterator[str]:
    """The ill-typed points of a grid, each with its message."""
    yield f"{len(refused)} of {points} points are ill-typed"
    for overrides, error in refused:
        yield f"\n{' '.join(text.removeprefix('++') for text in overrides)}\n  " + "\n  ".join(str(error).splitlines())

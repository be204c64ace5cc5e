"""From a point of the space to a run config that is typed, or to the reason why it is none."""

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
"""Points that are looked at before a key counts as unknown, or the space as ill-typed."""


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
    return f"{key}={_written(value)}"


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_written(key)}:{_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_written, value)) + "]"
    if isinstance(value, str):
        return value if _BARE.fullmatch(value) else "'" + value.replace("'", "\\'") + "'"
    return json.dumps(value)


def too_large(typed: TypedRun, spec: SweepSpec) -> str:
    """Why a model is refused for its size, or nothing.

    Where the species are those of data that have to be read first, one is counted.
    """
    number, limit = typed.model.num_parameters, spec.max_parameters
    return f"{number:,} parameters, more than {limit:,}" if limit is not None and number > limit else ""


def check(
    spec: SweepSpec, sources: Sources, composer: Composer, typed_run: Callable[[Composed], TypedRun]
) -> RunConfig:
    """The run config that all trials have in common, once the search over it makes sense. It need not be well-typed.

    Args:
        sources: where the spec was written, with paths from ``sweep``.
        composer: has the overrides that all trials have in common.
        typed_run: checks a config as a whole.

    Raises:
        UserError: the config is wrong, an entry of the space is no key of it or has a value that the key never takes,
            an objective is not measured, or no point is well-typed.
    """
    try:
        base = composer.compose().parse(RunConfig)
    except SpecError as error:
        raise _at_its_line(error, spec, sources) from None
    _check_objectives(spec, sources, base)
    groups = {key: parameter for key, parameter in spec.space.items() if not composer.is_value(override(key, 0))}
    for key, parameter in groups.items():
        if not isinstance(parameter, Choices):
            problem = f"'{key}' is a group of configs: a list of names is required"
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
    """Raises the mistake of what the trials have in common, if that is ill-typed and so is every point."""
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
            raise sources.place(SpecError(("sweep", "objectives", index), f"nothing is called {name}", hint))


def _check_group(key: str, index: int, name: Any, sources: Sources, composer: Composer) -> None:
    try:
        composer.compose([override(key, name)])
    except SpecError as error:
        raise sources.place(SpecError(("sweep", "space", key, index), error.problem, error.hint)) from None


def _check_value(
    key: str, value: Any, combinations: Sequence[Sequence[str]], sources: Sources, composer: Composer
) -> None:
    """Raises SpecError if the key does not take the value, whichever groups are chosen."""
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
                return  # another key does not go with it, which another trial may mend
            wrong.append(SpecError(at[len(path) :], error.problem, error.hint, at_key=error.problem == "unknown key"))
    if wrong:
        first = wrong[0]
        problem = f"{'.'.join(map(str, first.path))}: {first.problem}" if first.path else first.problem
        raise sources.place(SpecError(("sweep", "space", key), problem, first.hint, at_key=first.at_key))


def _missing(raw: Any, path: tuple[str, ...]) -> SpecError | None:
    """What is wrong with a key that lies in a mapping which does not exist. The last part is the spec's business."""
    for depth, part in enumerate(path[:-1]):
        if not isinstance(raw, Mapping):
            return None
        if part not in raw:
            return SpecError(path[: depth + 1], "there is no such key", did_you_mean(part, raw, "keys"), at_key=True)
        raw = raw[part]
    return None


def _at_its_line(error: SpecError, spec: SweepSpec, sources: Sources) -> SpecError:
    """An override that stands in the sweep's file is not one of the command line."""
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

"""The space of a search: choices, ranges of numbers, and irreps; and its points, if it is finite."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationInfo, WithJsonSchema, model_validator

from e3frame.algebra.irreps import Irreps
from e3frame.spec.base import Spec, mistake, mistake_at, shown
from e3frame.spec.errors import did_you_mean

if TYPE_CHECKING:
    from optuna import Trial

_COUNTED = 1e9
"""Values from which on a parameter counts as infinite."""
_LISTED = 100_000
"""Points up to which those that are left are listed; in a larger space, a random point is rarely taken."""

Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class Axis:
    """The values of one finite parameter of the search.

    >>> steps = Axis(4, low=0.0, step=0.1)
    >>> steps.value(3), steps.place(0.3)
    (0.3, 3)
    >>> Axis(2, ("a", None)).place(None)
    1
    """

    size: int
    values: tuple[Scalar, ...] | None = None
    """The values; None for numbers from ``low`` on, ``step`` apart."""
    low: int | float = 0
    step: int | float = 1

    def value(self, place: int) -> Scalar:
        """The value with a number, counted from 0."""
        if self.values is not None:
            return self.values[place]
        exact = Decimal(str(self.low)) + place * Decimal(str(self.step))
        return int(exact) if isinstance(self.low, int) and isinstance(self.step, int) else float(exact)

    def place(self, value: Any) -> int:
        """The number of a value, counted from 0; of the nearest value if it lies between two."""
        return round((value - self.low) / self.step) if self.values is None else self.values.index(value)


class Parameter(Spec):
    """One entry of the space: the values that a key of the run config may take."""

    def suggest(self, key: str, trial: Trial) -> Any:
        """The value of ``key`` in a trial."""
        raise NotImplementedError(f"{type(self).__name__}.suggest")

    def examples(self) -> Iterator[Any]:
        """Values that the key must accept on their own: all choices, or the ends of a range."""
        raise NotImplementedError(f"{type(self).__name__}.examples")

    def axes(self, key: str) -> Iterator[tuple[str, Axis | None]]:
        """The parameters of the search in this entry, each with its values; None for infinitely many."""
        raise NotImplementedError(f"{type(self).__name__}.axes")


class Choices(Parameter):
    """One of a list of values."""

    choices: Annotated[tuple[Any, ...], Field(min_length=1, max_length=1_000)]
    """The values, of any type that YAML has; a list alone means the same."""

    @model_validator(mode="after")
    def _distinct(self) -> Choices:
        counts = Counter(self.labels)
        twice = [choice for choice, label in zip(self.choices, self.labels, strict=True) if counts[label] > 1]
        if twice:
            raise mistake(f"{shown(twice[0])} is listed twice")
        return self

    def suggest(self, key: str, trial: Trial) -> Any:
        return self.choices[self.labels.index(trial.suggest_categorical(key, self.labels))]

    @property
    def labels(self) -> list[Scalar]:
        """The choices as Optuna has them, plain values. It holds 1, 1.0 and true equal: later ones become texts."""
        found: list[Scalar] = []
        for value in self.choices:
            plain = value is None or isinstance(value, bool | int | float | str)
            same = plain and any(value == other and type(value) is not type(other) for other in found)
            found.append(value if plain and not same else json.dumps(value))
        return found

    def axes(self, key: str) -> Iterator[tuple[str, Axis]]:
        yield key, Axis(len(self.choices), tuple(self.labels))

    def examples(self) -> Iterator[Any]:
        yield from self.choices


class Range(Parameter):
    """A number between ``low`` and ``high``: an integer if both are integers, else a real number."""

    low: int | float
    """The smallest value."""
    high: int | float
    """The largest value."""
    log: bool = False
    """Draw the logarithm uniformly, as suits learning rates."""
    step: int | float | None = Field(default=None, gt=0)
    """Distance from one value to the next; null: any number in the range, or any integer."""

    @model_validator(mode="after")
    def _a_range(self) -> Range:
        if self.low >= self.high:
            raise mistake_at("high", self.high, mistake(f"must be > low = {self.low:g}, got {self.high:g}"))
        if self.log and self.low <= 0:
            raise mistake_at("low", self.low, mistake(f"must be > 0 with log: true, got {self.low:g}"))
        if self.log and self.step is not None:
            raise mistake_at("step", self.step, mistake("log: true allows no step", "remove one of them"))
        if self._whole and self.step is not None and not isinstance(self.step, int):
            raise mistake_at("step", self.step, mistake(f"must be an integer, as low and high are; got {self.step:g}"))
        return self

    @property
    def _whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def suggest(self, key: str, trial: Trial) -> int | float:
        if self._whole:
            return trial.suggest_int(key, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)

    def axes(self, key: str) -> Iterator[tuple[str, Axis | None]]:
        step = self.step or (1 if self._whole else None)
        last = math.inf if step is None else (self.high - self.low) / step + 1e-9
        yield key, Axis(int(last) + 1, low=self.low, step=step) if step is not None and last < _COUNTED else None

    def examples(self) -> Iterator[int | float]:
        yield self.low
        yield self.high


class IrrepsSpec(Spec):
    """``mul`` copies of each l from 0 to ``l_max``, like num_features, l_max and parity of NequIP."""

    mul: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
    """Multiplicities to choose from."""
    l_max: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    """Largest degrees l to choose from."""
    parity: Annotated[tuple[bool, ...], Field(min_length=1)] = (False,)
    """false: each l has the parity of the spherical harmonics, (-1)^l; true: both parities of each l."""

    def irreps(self, mul: int, l_max: int, parity: bool) -> str:
        """The irreps of one choice.

        >>> IrrepsSpec(mul=[8], l_max=[1]).irreps(8, 1, False)
        '8x0e + 8x1o'
        >>> IrrepsSpec(mul=[8], l_max=[1]).irreps(4, 1, True)
        '4x0e + 4x0o + 4x1o + 4x1e'
        """
        own = Irreps.spherical_harmonics(l_max)
        pairs = [(ir.l, p) for _, ir in own for p in ((ir.p, -ir.p) if parity else (ir.p,))]
        return " + ".join(f"{mul}x{l}{'e' if p == 1 else 'o'}" for l, p in pairs)  # noqa: E741


class IrrepsChoice(Parameter):
    """Irreps given by multiplicity, largest l and parity, each of which is a parameter if it has several values."""

    irreps: IrrepsSpec
    """Multiplicities, degrees and parities to choose from."""

    def suggest(self, key: str, trial: Trial) -> str:
        options = self._options()
        parts = ("mul", "l_max", "parity")
        chosen = {name: trial.suggest_categorical(f"{key}.{name}", options[name]) for name in parts if name in options}
        return self.irreps.irreps(*(chosen.get(name, getattr(self.irreps, name)[0]) for name in parts))

    def axes(self, key: str) -> Iterator[tuple[str, Axis]]:
        yield from ((f"{key}.{name}", Axis(len(of), tuple(of))) for name, of in self._options().items())

    def _options(self) -> dict[str, list[Any]]:
        """The parts of the irreps that have several values."""
        distinct = {name: list(dict.fromkeys(getattr(self.irreps, name))) for name in ("mul", "l_max", "parity")}
        return {name: values for name, values in distinct.items() if len(values) > 1}

    def examples(self) -> Iterator[str]:
        spec = self.irreps
        yield from (spec.irreps(spec.mul[0], l_max, parity) for l_max in spec.l_max for parity in spec.parity)


_FORMS: dict[str, type[Parameter]] = {"choices": Choices, "low": Range, "high": Range, "irreps": IrrepsChoice}


def _parameter(raw: Any, info: ValidationInfo) -> Parameter:
    if isinstance(raw, Parameter):
        return raw
    if isinstance(raw, list | tuple):
        return Choices.model_validate({"choices": list(raw)}, context=info.context)
    if isinstance(raw, Mapping):
        form = next((_FORMS[key] for key in raw if key in _FORMS), None)
        if form is not None:
            return form.model_validate(raw, context=info.context)
        if raw:
            key = next(iter(raw))
            known = ["choices", "low", "high", "log", "step", "irreps"]
            raise mistake_at(str(key), raw[key], mistake("unknown key", did_you_mean(str(key), known), at_key=True))
    hint = "[a, b], {low: 1, high: 4}, {low: 1e-3, high: 1e-1, log: true} or {irreps: {mul: [8, 16], l_max: [1, 2]}}"
    raise mistake(f"expected values to choose from, got {shown(raw)}", hint)


AnyParameter = Annotated[
    SerializeAsAny[Parameter],
    BeforeValidator(_parameter),
    WithJsonSchema({"anyOf": [{"type": "array"}, {"type": "object"}]}),
]


@dataclass(frozen=True)
class Points:
    """All points of a finite space, numbered from 0.

    >>> points = Points({"a": Axis(2, ("x", "y")), "b": Axis(3, low=1)})
    >>> points.size, points.number({"a": "y", "b": 3}), points.point(5)
    (6, 5, {'a': 'y', 'b': 3})
    """

    axes: Mapping[str, Axis]

    @classmethod
    def of(cls, space: Mapping[str, Parameter]) -> Points | None:
        """The points of a space; None if it is not finite."""
        axes = {name: axis for key, parameter in space.items() for name, axis in parameter.axes(key)}
        counted = {name: axis for name, axis in axes.items() if axis is not None}
        return cls(counted) if len(counted) == len(axes) else None

    @cached_property
    def size(self) -> int:
        return prod(axis.size for axis in self.axes.values())

    def number(self, point: Mapping[str, Any]) -> int | None:
        """The number of a point; None for a point without all its values."""
        if not self.axes.keys() <= point.keys():
            return None
        number = 0
        for name, axis in self.axes.items():
            number = number * axis.size + axis.place(point[name])
        return number

    def point(self, number: int) -> dict[str, Scalar]:
        """The point of a number, with values as Optuna has them."""
        found: dict[str, Scalar] = {}
        for name, axis in reversed(list(self.axes.items())):
            number, place = divmod(number, axis.size)
            found[name] = axis.value(place)
        return {name: found[name] for name in self.axes}

    def another(self, taken: Collection[int | None], seed: int) -> dict[str, Scalar] | None:
        """A random point that is not taken; None if there is none, or the space is too large to list."""
        if self.size > _LISTED:
            return None
        left = [number for number in range(self.size) if number not in taken]
        return self.point(random.Random(seed).choice(left)) if left else None

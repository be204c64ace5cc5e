"""What may vary in a search, as specs: choices, ranges of numbers, and irreps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationInfo, WithJsonSchema, model_validator

from e3frame.algebra.irreps import Irreps
from e3frame.spec.base import Spec, mistake, mistake_at, shown
from e3frame.spec.errors import did_you_mean

if TYPE_CHECKING:
    from optuna import Trial

Scalar = bool | int | float | str | None


class Parameter(Spec):
    """One entry of the space: a key of the run config, and the values it may take."""

    def suggest(self, key: str, trial: Trial) -> Any:
        """The value of ``key`` in a trial."""
        raise NotImplementedError(f"{type(self).__name__}.suggest")

    def examples(self) -> Iterator[Any]:
        """Values, each of which the key must accept, whatever the others are: all choices, the ends of a range."""
        raise NotImplementedError(f"{type(self).__name__}.examples")


class Choices(Parameter):
    """One of a list of values."""

    choices: Annotated[tuple[Any, ...], Field(min_length=1)]
    """The values, of any kind that YAML has; a bare list is the same."""

    @model_validator(mode="after")
    def _distinct(self) -> Choices:
        labels = [(type(label), label) for label in map(_label, self.choices)]
        twice = [choice for choice, label in zip(self.choices, labels, strict=True) if labels.count(label) > 1]
        if twice:
            raise mistake(f"{shown(twice[0])} stands there twice")
        return self

    def suggest(self, key: str, trial: Trial) -> Any:
        labels = [_label(choice) for choice in self.choices]
        return self.choices[_index(labels, trial.suggest_categorical(key, labels))]

    def examples(self) -> Iterator[Any]:
        yield from self.choices


class Range(Parameter):
    """A number between two: an integer where both are, else a real number."""

    low: int | float
    """The smallest value."""
    high: int | float
    """The largest value."""
    log: bool = False
    """Whether the logarithm is drawn evenly, as suits learning rates."""
    step: int | float | None = Field(default=None, gt=0)
    """Distance from one value to the next; null: every number between the two, or every integer."""

    @model_validator(mode="after")
    def _a_range(self) -> Range:
        if self.low >= self.high:
            raise mistake_at("high", self.high, mistake(f"must be > low, {self.low:g}; got {self.high:g}"))
        if self.log and self.low <= 0:
            raise mistake_at("low", self.low, mistake(f"must be > 0 with log: true, got {self.low:g}"))
        if self.log and self.step is not None:
            raise mistake_at("step", self.step, mistake("a step does not go with log: true", "leave one of them out"))
        if self._whole and self.step is not None and not isinstance(self.step, int):
            raise mistake_at("step", self.step, mistake(f"an integer is required between integers, got {self.step:g}"))
        return self

    @property
    def _whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def suggest(self, key: str, trial: Trial) -> int | float:
        if self._whole:
            return trial.suggest_int(key, self.low, self.high, step=self.step or 1, log=self.log)
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)

    def examples(self) -> Iterator[int | float]:
        yield self.low
        yield self.high


class IrrepsSpec(Spec):
    """``mul`` copies of each l from 0 to ``l_max``, as by num_features, l_max and parity of NequIP."""

    mul: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
    """Multiplicities to choose from."""
    l_max: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    """Largest l to choose from."""
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
    """Irreps by multiplicity, largest l and parity: those with more than one value are parameters of the search."""

    irreps: IrrepsSpec
    """What to choose from."""

    def suggest(self, key: str, trial: Trial) -> str:
        spec = self.irreps
        chosen = []
        for name in ("mul", "l_max", "parity"):
            options = list(getattr(spec, name))
            chosen.append(trial.suggest_categorical(f"{key}.{name}", options) if len(options) > 1 else options[0])
        return spec.irreps(*chosen)

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
    raise mistake(f"values to choose from are required, got {shown(raw)}", hint)


AnyParameter = Annotated[
    SerializeAsAny[Parameter],
    BeforeValidator(_parameter),
    WithJsonSchema({"anyOf": [{"type": "array"}, {"type": "object"}]}),
]


def _label(value: Any) -> Scalar:
    """Optuna takes plain values alone; others are known by their JSON."""
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value)


def _index(labels: list[Scalar], label: Scalar) -> int:
    """Of the label of equal type and value: True is 1 to Python."""
    return next(i for i, other in enumerate(labels) if type(other) is type(label) and other == label)

"""The points of a space that has an end, numbered."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from e3frame.sweep.space import Axis
from e3frame.sweep.spec import SweepSpec

_LISTED = 100_000
"""Points up to which those that are left are listed; in a larger space, chance finds one."""


@dataclass(frozen=True)
class Points:
    """All points.

    >>> points = Points({"a": Axis(2, ("x", "y")), "b": Axis(3, low=1)})
    >>> points.size, points.number({"a": "y", "b": 3}), points.point(5)
    (6, 5, {'a': 'y', 'b': 3})
    """

    axes: Mapping[str, Axis]

    @classmethod
    def of(cls, spec: SweepSpec) -> Points | None:
        """Those of a search; None where there is no end to them."""
        axes = {name: axis for key, parameter in spec.space.items() for name, axis in parameter.axes(key)}
        counted = {name: axis for name, axis in axes.items() if axis is not None}
        return cls(counted) if len(counted) == len(axes) else None

    @cached_property
    def size(self) -> int:
        return prod(axis.size for axis in self.axes.values())

    def number(self, point: Mapping[str, Any]) -> int | None:
        """From 0 on; None of a point that is not chosen yet."""
        if not self.axes.keys() <= point.keys():
            return None
        number = 0
        for name, axis in self.axes.items():
            number = number * axis.size + axis.place(point[name])
        return number

    def point(self, number: int) -> dict[str, Any]:
        """The point of a number, as Optuna knows it."""
        found = {}
        for name, axis in reversed(self.axes.items()):
            number, place = divmod(number, axis.size)
            found[name] = axis.value(place)
        return {name: found[name] for name in self.axes}

    def another(self, taken: Collection[int | None], seed: int) -> dict[str, Any] | None:
        """One of those that are left, at random; None if there is none, or there are too many to list."""
        if self.size > _LISTED:
            return None
        left = [number for number in range(self.size) if number not in taken]
        return self.point(random.Random(seed).choice(left)) if left else None

"""Trials of a search, independent of how they are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal[
    "waiting", "running", "complete", "pruned", "failed", "refused", "repeated", "withdrawn", "dead", "given up"
]

COUNTED = frozenset({"complete", "pruned", "failed", "given up"})
"""Outcomes that count towards the budget: trained, or failed repeatedly."""


@dataclass(frozen=True)
class Trial:
    """One point.

    Attributes:
        point: parameter of the search -> value.
        values: objectives of a complete trial.
        outcome: complete and pruned trials were trained; a failed one diverged; a refused one is ill-typed or too
            large; a repeated one had been tried before; the process of a dead one was killed; a withdrawn one exceeded
            the budget.
        reason: why it was refused or failed.
        epoch: validations so far.
        seconds: from its start to its end, or until now.
        measured: known objectives and costs, by name.
        config: the run config, once it is well-typed.
        limit: the number of parameters that it exceeds.
    """

    number: int
    outcome: Outcome
    point: Mapping[str, Any]
    values: tuple[float, ...] | None = None
    reason: str = ""
    epoch: int = 0
    seconds: float = 0.0
    measured: Mapping[str, float] | None = None
    config: Mapping[str, Any] | None = None
    limit: int | None = None

    @property
    def counts(self) -> bool:
        return self.outcome in COUNTED


def best(trials: Sequence[Trial]) -> Trial | None:
    """The complete trial with the smallest first objective; the first of equals."""
    complete = [trial for trial in trials if trial.outcome == "complete"]
    return min(complete, key=lambda trial: (trial.values, trial.number), default=None)


def front(trials: Sequence[Trial]) -> list[Trial]:
    """The Pareto front: complete trials that no other equals in every objective and beats in one, best first.

    >>> [t.number for t in front([Trial(i, "complete", {}, v) for i, v in enumerate([(1., 3.), (2., 2.), (2., 4.)])])]
    [0, 1]
    """
    complete = sorted((t.values or (), t.number, t) for t in trials if t.outcome == "complete")
    return [
        trial
        for values, _, trial in complete
        if not any(v != values and all(a <= b for a, b in zip(v, values, strict=True)) for v, _, _ in complete)
    ]


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Each dotted name, shortened to its shortest unique end.

    >>> short_names(["optimizer.lr", "model.a.times", "model.b.times"])
    {'optimizer.lr': 'lr', 'model.a.times': 'a.times', 'model.b.times': 'b.times'}
    """

    def ends(name: str) -> list[str]:
        parts = name.split(".")
        return [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]

    return {
        name: next(end for end in ends(name) if sum(end in ends(other) for other in names) == 1 or end == name)
        for name in names
    }

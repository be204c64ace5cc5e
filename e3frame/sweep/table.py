"""The trials as a table for the terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from e3frame.spec.errors import UserError
from e3frame.spec.words import counted
from e3frame.sweep.spec import COSTS, SweepSpec
from e3frame.sweep.trials import Trial, front, short_names

_STYLES = {"running": "cyan", "complete": "", "pruned": "yellow", "failed": "red", "given up": "red"}
_QUIET = ("repeated", "withdrawn", "dead")


def number(value: float | None) -> str:
    """A number with four digits.

    >>> number(0.0123456), number(123456.0), number(None)
    ('0.01235', '123,456', '')
    """
    if value is None:
        return ""
    return f"{value:,.0f}" if math.isfinite(value) and abs(value) >= 1e4 else f"{value:.4g}"


def written(value: Any) -> str:
    """A value of the space, as text."""
    if isinstance(value, bool):
        return str(value).lower()
    return number(value) if isinstance(value, float) else "null" if value is None else str(value)


def columns(spec: SweepSpec) -> list[str]:
    """Names of the measured columns."""
    return [*spec.objectives, *(name for name in COSTS if name not in spec.objectives)]


def parameters(trials: Sequence[Trial]) -> dict[str, str]:
    """The parameters of the search with their short names."""
    names = list({name: None for trial in trials for name in trial.point})
    return short_names(names)


def trial_table(trials: Sequence[Trial], spec: SweepSpec, rows: int) -> Table:
    """The best, the running and the last trials, by number; at most ``rows`` of them."""
    names, best = parameters(trials), {trial.number for trial in front(trials)}
    table = Table(box=None, pad_edge=False, header_style="bold", title=f"sweep {spec.name}", title_justify="left")
    table.caption, table.caption_justify = summary(trials, spec), "left"
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("outcome", max_width=36)
    for heading in columns(spec):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("point")
    for trial in _chosen(trials, best, rows):
        style = "bold green" if trial.number in best else _STYLES.get(trial.outcome, "dim")
        table.add_row(*_cells(trial, spec, names), style=style)
    return table


def _chosen(trials: Sequence[Trial], best: set[int], rows: int) -> list[Trial]:
    shown = [trial for trial in trials if trial.outcome not in _QUIET]
    first = [t for t in shown if t.outcome == "running" or t.number in best]
    rest = [t for t in reversed(shown) if t not in first]
    return sorted([*first, *rest][: max(rows, 3)], key=lambda trial: trial.number)


def _cells(trial: Trial, spec: SweepSpec, names: Mapping[str, str]) -> list[str]:
    measured = trial.measured or {}
    point = ", ".join(f"{short} {written(trial.point[name])}" for name, short in names.items() if name in trial.point)
    return [str(trial.number), outcome(trial), *(number(measured.get(name)) for name in columns(spec)), point]


def outcome(trial: Trial) -> str:
    """The outcome of a trial, with the reason or the epoch."""
    if trial.outcome == "running":
        return f"running, epoch {trial.epoch + 1}"
    if trial.outcome == "pruned" and trial.reason:
        return f"pruned {trial.reason}"
    return f"{trial.outcome}: {trial.reason}" if trial.reason else trial.outcome


def summary(trials: Sequence[Trial], spec: SweepSpec) -> str:
    """Progress of the search in one line."""
    counted = sum(trial.counts for trial in trials)
    of = f" of {spec.trials}" if spec.trials is not None else ""
    parts = [f"{counted}{of} trials"]
    if spec.hours is not None:
        parts.append(f"{sum(t.seconds for t in trials if t.counts) / 3600:.2f} of {spec.hours:g} h")
    found = Counter(trial.outcome for trial in trials)
    parts += [f"{found[name]} {name}" for name in ("running", "waiting", "pruned", "failed", "refused") if found[name]]
    if best := front(trials):
        values = ", ".join(
            f"{name} {number(value)}" for name, value in zip(spec.objectives, best[0].values or (), strict=True)
        )
        parts.append(f"best {values} (trial {best[0].number})")
    return " · ".join(parts)


def ending(trials: Sequence[Trial], points: int) -> str:
    """The message when no point of the space is left.

    >>> ending([Trial(0, "complete", {}), Trial(1, "refused", {}), Trial(2, "repeated", {})], 2)
    'all 2 points of the space are done: 1 complete, 1 refused'
    """
    found = Counter(trial.outcome for trial in trials if trial.counts or trial.outcome == "refused")
    done = f"all {counted(points, 'point')} of the space are done" if points > 1 else "the only point is done"
    return f"{done}: " + ", ".join(f"{number:,} {name}" for name, number in found.items())


def no_trial_complete(trials: Sequence[Trial]) -> UserError:
    """The message when a search ends without a complete trial."""
    last = next((trial for trial in reversed(trials) if trial.reason), None)
    reason = "" if last is None else f"\n  trial {last.number}: {outcome(last)}"
    return UserError(f"no trial of the search is complete{reason}")

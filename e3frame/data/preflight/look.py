"""All checks, and the report of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.table import Table
from rich.text import Text

from e3frame.data.base import Label
from e3frame.data.dataset import Splits
from e3frame.data.frameset import FrameSet
from e3frame.data.preflight.duplicates import check_duplicates
from e3frame.data.preflight.findings import Finding
from e3frame.data.preflight.gradient import check_gradient, check_stress
from e3frame.data.preflight.tensors import check_frame
from e3frame.data.statistics import label_range
from e3frame.spec.errors import DataError

SAMPLE = 200
"""Frames that the checks of labels look at, unless all are asked for."""
MAX_ATOMS = 5_000_000
"""Atoms among whose labels outliers are sought, unless all are asked for."""
OUTLIER = 20.0
"""Deviations from the median, in units of the median deviation, that make a value an outlier."""
COLORS = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "bold red"}


@dataclass(frozen=True)
class Asked:
    """What a task asks of the data.

    Attributes:
        labels: those that are learned.
        energy, forces: those of them that belong together, if there are such.
        species: elements that the model knows; None: whichever come.
        units: of the labels, for the report.
    """

    labels: Mapping[str, Label]
    energy: str | None = None
    forces: str | None = None
    species: Sequence[str] | None = None
    units: Mapping[str, str] = field(default_factory=dict)


def look(splits: Splits, asked: Asked, full: bool = False) -> list[Finding]:
    """Every check that the labels allow, on some frames or in full on all."""
    findings = _structure(splits.train, asked.species)
    step = 1 if full else max(1, len(splits.train) // SAMPLE)
    graphs = [splits.train[k] for k in range(0, len(splits.train), step)]
    seen = splits.train if full else _thinned(splits.train)
    findings += [found for name in asked.labels for found in _values(seen, name)]
    if asked.energy is not None and asked.forces is not None:
        findings.append(check_gradient(graphs, asked.energy, asked.forces))
    if "stress" in asked.labels and asked.forces is not None:
        findings.append(check_stress(graphs, asked.forces))
    for name, label in asked.labels.items():
        if label.per == "graph" and label.shape in ((3,), (3, 3)) and name != "stress":
            findings += [found for found in [check_frame(graphs, name)] if found is not None]
    if len(list(splits.items())) > 1:
        findings.append(check_duplicates(splits))
    return findings


def require_sound(findings: Sequence[Finding]) -> None:
    """Raises DataError for the first finding that makes training vain."""
    for finding in findings:
        if finding.level == "error":
            hints = [finding.hint, "data.preflight=warn trains all the same"]
            raise DataError(f"{finding.check}: {finding.text}", hint="\n".join(filter(None, hints)))


def report(splits: Splits, asked: Asked, findings: Sequence[Finding]) -> list[Table]:
    """The labels with their ranges, and the findings."""
    held = Table(title="labels of the training frames", title_justify="left", box=None, pad_edge=False)
    for heading in ("label", "per", "shape", "unit", "smallest", "mean", "largest", "missing"):
        held.add_column(heading, justify="left" if heading in ("label", "per", "shape", "unit") else "right")
    for name, label in asked.labels.items():
        found = label_range(splits.train, name)
        shape = " × ".join(map(str, label.shape)) or "1"
        numbers = [f"{number:.5g}" for number in (found.smallest, found.mean, found.largest)]
        held.add_row(name, label.per, shape, asked.units.get(name, ""), *numbers, str(found.missing))
    return [held, findings_table(findings)]


def findings_table(findings: Sequence[Finding]) -> Table:
    """A line for each."""
    table = Table(title="findings", title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in findings:
        text = Text(finding.text + (f"\n{finding.hint}" if finding.hint else ""))
        table.add_row(Text(finding.level, style=COLORS[finding.level]), finding.check, text)
    return table


def _structure(dataset: FrameSet, species: Sequence[str] | None) -> list[Finding]:
    rows = (row for block in dataset.blocks("pbc") for row in block.values["pbc"].tolist())
    kinds = Counter("".join("T" if along else "F" for along in row) for row in rows)
    said = ", ".join(f"{count} frames {kind}" for kind, count in sorted(kinds.items()))
    level = "ok" if len(kinds) == 1 else "warning"
    found = [Finding("periodicity", level, said + (" (mixed)" if len(kinds) > 1 else ""))]
    if species is not None:
        unknown = [symbol for symbol in dataset.species if symbol not in species]
        text = f"the model does not know {', '.join(unknown)}" if unknown else ", ".join(dataset.species)
        found.append(Finding("elements", "error" if unknown else "ok", text))
    else:
        found.append(Finding("elements", "ok", ", ".join(dataset.species)))
    return found


def _thinned(dataset: FrameSet) -> FrameSet:
    """Frames at even distances, whose atoms fit into memory together; of most sets all."""
    return dataset[:: 1 + int(dataset.counts("z").sum()) // MAX_ATOMS]


def _values(dataset: FrameSet, name: str) -> list[Finding]:
    """Outliers, and labels that are all the same."""
    values = dataset.stacked(name).numpy()
    flat = values.reshape(len(values), -1)
    if name == "energy":  # apart from what the composition explains
        numbers, column = np.unique(dataset.stacked("z").numpy(), return_inverse=True)
        atoms = dataset.counts("z").numpy()
        composition = np.zeros((len(atoms), len(numbers)))
        np.add.at(composition, (np.repeat(np.arange(len(atoms)), atoms), column), 1.0)
        known = np.isfinite(flat[:, 0])
        solution = np.linalg.lstsq(composition[known], flat[known], rcond=None)[0]
        flat = (flat - composition @ solution) / atoms[:, None]
    size = np.linalg.norm(flat, axis=1) if flat.shape[1] > 1 else flat[:, 0]
    size = size[np.isfinite(size)]
    if len(size) > 1 and np.ptp(flat[np.isfinite(flat)]) == 0:
        return [Finding(name, "warning", "it is the same in all frames")]
    deviation = np.abs(size - np.median(size))
    typical = np.median(deviation)
    far = int((deviation > OUTLIER * typical).sum()) if typical > 0 else 0
    if far:
        rows = {len(dataset): "frames", int(dataset.counts("z").sum()): "atoms"}
        what = rows.get(len(values), "edges")
        text = (
            f"{far} of {len(size)} {what} are outliers: up to {deviation.max() / typical:.0f} typical deviations away"
        )
        return [Finding(name, "warning", text, "are they what they should be?")]
    return []

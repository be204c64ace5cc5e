"""Runs all checks of the data and builds the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from ase.formula import Formula
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from e3frame.config.run import TypedRun
from e3frame.data.pipeline.dataset import Splits
from e3frame.data.pipeline.frameset import FrameSet
from e3frame.data.pipeline.graphs import Graph
from e3frame.data.pipeline.statistics import label_range
from e3frame.data.sources.base import Label
from e3frame.preflight.duplicates import check_duplicates
from e3frame.preflight.energies import check_energies, check_references, composition, residual
from e3frame.preflight.findings import Finding
from e3frame.preflight.frames import check_neighbors, check_vanishing, vanish
from e3frame.preflight.gradient import check_belonging, check_gradient, labelled
from e3frame.preflight.plausible import check_forces, check_lengths, check_totals
from e3frame.preflight.stress import check_stress
from e3frame.preflight.tensors import check_frame
from e3frame.spec.elements import SYMBOLS
from e3frame.spec.errors import DataError, terse
from e3frame.spec.words import counted, printable

SAMPLE = 400
"""Frames used by the checks of labels, unless ``full``."""
MAX_ROWS = 5_000_000
"""Values of a label that are searched for outliers, unless ``full``."""
MAX_EDGES = 10_000_000
"""Edges of the frames that are in memory at a time (0.4 GB)."""
OUTLIER = 20.0
"""Deviations from the median, in units of the median deviation, that make a value an outlier."""
TAIL = 5.0
"""The same in units of the deviation that a tenth of the values exceeds: atoms of several kinds, and steep walls, have
long tails."""
ODD = ("warning", "error")
ROWS = {"graph": "frames", "node": "atoms", "edge": "edges"}
COLORS = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "bold red"}


@dataclass(frozen=True)
class Requirements:
    """Requirements of a task on the data.

    Attributes:
        labels: labels that the model learns.
        energy, forces: names of the energy and of its negative gradient; None if the task lacks them.
        species: elements that the model knows; None: any.
        units: unit of each label, for the report.
        factors: conversion factor from the numbers in the files to each label; 1 for labels without an entry.
        references: whether the model adds reference energies of the atoms.
        is_mean: whether ``energy`` is a mean over the atoms, not a sum.
        known: given reference energies of single atoms.
        allow: ``DataSpec.allow``.
    """

    labels: Mapping[str, Label]
    energy: str | None = None
    forces: str | None = None
    species: Sequence[str] | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    references: bool = True
    is_mean: bool = False
    known: Mapping[str, float] = field(default_factory=dict)
    allow: Collection[str] = ()

    @classmethod
    def of(cls, run: TypedRun) -> Requirements:
        """Return the requirements of a run."""
        task, data, model = run.config.task, run.config.data, run.config.model
        files = data.found_units()
        return cls(
            task.labels,
            run.energy_label,
            run.forces_label,
            None if model.species == "auto" else model.species,
            units={task.key(name): task.unit(name) for name in task.targets},
            factors={} if files is None else {key: files.label_factor(key) for key in task.labels},
            references=any(output.scale_shift is not None for output in model.outputs.values()),
            is_mean=run.is_mean,
            allow=data.allow,
        )


def check_data(splits: Splits, needs: Requirements, full: bool = False) -> list[Finding]:
    """Run every check that the labels allow, on a sample or (``full``) on all frames."""
    findings = [
        *_structure(splits.train, needs.species),
        *check_neighbors(splits.train, "isolated_atoms" in needs.allow),
    ]
    seen = splits.train if full else _thinned(splits.train, needs.labels)
    graphs = [splits.train[k] for k in _chosen(splits.train, full)]
    for name, label in needs.labels.items():
        if name == needs.forces and vanish(seen, name):
            findings.append(check_vanishing(name, "zero_forces" in needs.allow))
            continue
        findings += _values(seen, name, label, name == needs.energy and not needs.is_mean)
    findings += _physics(seen, graphs, needs)
    if needs.energy is not None and needs.references and not needs.is_mean:
        findings += filter(None, [check_references(splits, needs.energy, needs.known)])
    for name, dataset in splits.items():
        if dataset is not splits.train:
            findings += _also(name, dataset, needs, findings, full)
    return findings + check_duplicates(splits)


def _physics(seen: FrameSet, graphs: Sequence[Graph], needs: Requirements) -> list[Finding]:
    """Check signs and units, and whether tensors rotate with the molecule."""
    found = [check_lengths(graphs), *_energies(seen, graphs, needs)]
    if "stress" in needs.labels:
        found.append(check_stress(graphs, needs.forces, energy=needs.energy))
    for name, label in needs.labels.items():
        if label.per == "graph" and label.shape in ((3,), (3, 3)) and name != "stress":
            found.append(check_frame(graphs, name))
    return [finding for finding in found if finding is not None]


def _also(name: str, dataset: FrameSet, needs: Requirements, known: Sequence[Finding], full: bool) -> list[Finding]:
    """Return findings of another split that the training frames do not show; they are never errors."""
    odd = {finding.check for finding in known if finding.level in ODD}
    graphs = [dataset[k] for k in _chosen(dataset, full)]
    found = _physics(dataset if full else _thinned(dataset, needs.labels), graphs, needs)
    return [
        replace(finding, check=f"{finding.check}, {name}", level="warning")
        for finding in found
        if finding.level in ODD and finding.check not in odd
    ]


def _chosen(dataset: FrameSet, full: bool) -> Sequence[int]:
    """Choose frames to compare with each other: evenly spaced pairs of consecutive frames, because these are similar in
    a trajectory; in full, as many frames as fit into memory."""
    total, edges = len(dataset), int(dataset.counts("edge_index").sum())
    room = max(total * MAX_EDGES // max(edges, MAX_EDGES), 2)
    number = min(room, total if full else SAMPLE)
    if number >= total:
        return range(total)
    starts = np.arange(number // 2) * (total - 1) // (number // 2)
    return np.unique(np.concatenate([starts, starts + 1])).tolist()


def _energies(dataset: FrameSet, graphs: Sequence[Graph], needs: Requirements) -> list[Finding]:
    """Check energies and forces, separately and against each other."""
    found: list[Finding] = []
    if needs.energy is not None and not needs.is_mean and (needs.forces is not None or needs.energy == "energy"):
        found += check_energies(dataset, needs.energy, needs.references)
        found += filter(None, [check_totals(dataset, needs.energy, needs.factors.get(needs.energy, 1.0))])
    if needs.forces is not None:
        belonging = check_belonging(graphs, needs.forces, sampled=needs.energy is None)
        size = check_forces(labelled(graphs, needs.forces), needs.forces, needs.factors.get(needs.forces, 1.0))
        found += filter(None, [belonging, size])
        # Forces that are unrelated to the positions cannot be the gradient of an energy.
        if needs.energy is not None and (belonging is None or belonging.level == "ok"):
            found.append(check_gradient(graphs, needs.energy, needs.forces))
    return found


def require_sound(findings: Sequence[Finding]) -> None:
    """Raise DataError for the first finding that is an error."""
    for finding in findings:
        if finding.level == "error":
            # Without data.allow, statistics raise the same error: there is nothing to scale by.
            no_way = finding.hint is not None and "data.allow=" in finding.hint
            hints = [finding.hint, None if no_way else "set data.preflight=warn to train anyway"]
            raise DataError(f"{finding.check}: {finding.text}", hint="\n".join(filter(None, hints)))


def report(splits: Splits, needs: Requirements, findings: Sequence[Finding]) -> list[Table]:
    """Return tables of the labels with their ranges, and of the findings."""
    held = Table(title="labels of the training frames", title_justify="left", box=None, pad_edge=False)
    for heading in ("label", "per", "shape", "unit", "smallest", "mean", "largest", "missing"):
        held.add_column(heading, justify="left" if heading in ("label", "per", "shape", "unit") else "right")
    for name, label in needs.labels.items():
        found = label_range(splits.train, name)
        shape = " × ".join(map(str, label.shape)) or "1"
        numbers = found.written("smallest", "mean", "largest")
        unit = Text(printable(needs.units.get(name, "")))
        held.add_row(name, label.per, shape, unit, *numbers, str(found.missing))
    return [held, findings_table(findings)]


def findings_table(findings: Sequence[Finding]) -> Table:
    """Return a table with a line for each finding."""
    table = Table(title="findings", title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in findings:
        text = Text(terse(finding.text.split("\n")))
        text.append(f"\n{terse(finding.hint.split(chr(10)))}" if finding.hint else "", style="italic")
        table.add_row(Text(finding.level, style=COLORS[finding.level]), finding.check, text)
    return table


def _structure(dataset: FrameSet, species: Sequence[str] | None) -> list[Finding]:
    found = [_periodicity(dataset)]
    if species is not None:
        unknown = [symbol for symbol in dataset.species if symbol not in species]
        text = f"the model does not know {', '.join(unknown)}" if unknown else ", ".join(dataset.species)
        found.append(Finding("elements", "error" if unknown else "ok", text))
    else:
        found.append(Finding("elements", "ok", ", ".join(dataset.species)))
    return found


def _thinned(dataset: FrameSet, labels: Mapping[str, Label]) -> FrameSet:
    """Return evenly spaced frames whose labels fit into memory; for most data sets, all frames."""
    rows = max(int(rows_of(dataset, per).sum()) for per in {"node", *(label.per for label in labels.values())})
    return dataset[:: 1 + rows // MAX_ROWS]


def _periodicity(dataset: FrameSet) -> Finding:
    """Check ``pbc``. Molecules and crystals may be mixed; the same atoms with and without a cell are probably a
    mistake."""
    periodic = dataset.stacked("pbc").numpy()
    kinds = Counter(map(_along, periodic.tolist()))
    held = ", ".join(f"{counted(count, 'frame')} {kind}" for kind, count in sorted(kinds.items()))
    if len(kinds) == 1:
        return Finding("periodicity", "ok", held)
    members: dict[bytes, dict[bytes, list[int]]] = {}
    for k, (counts, along) in enumerate(zip(composition(dataset), periodic, strict=True)):
        members.setdefault(counts.tobytes(), {}).setdefault(along.tobytes(), []).append(k)
    mixed = [sorted(group.values(), key=len) for group in members.values() if len(group) > 1]
    if not mixed:
        return Finding("periodicity", "ok", f"{held} (different compounds; only periodic frames have a stress)")
    file, frame = dataset.where(mixed[0][0][0])
    formula = Formula.from_list([SYMBOLS[z] for z in dataset[mixed[0][0][0]].z.tolist()]).format("hill")
    odd = _along(periodic[mixed[0][0][0]])
    few, total = len(mixed[0][0]), sum(map(len, mixed[0]))
    text = f"{held}; {formula}: {few} of {total} frames {odd} (first frame {frame} of {file})"
    return Finding("periodicity", "warning", text, "check pbc and the cell of these frames")


def _along(row: Sequence[bool]) -> str:
    """Describe along which cell vectors a frame is periodic."""
    names = [name for name, along in zip("abc", row, strict=True) if along]
    return {0: "not periodic", 3: "periodic"}.get(len(names), f"periodic along {' and '.join(names)}")


def _values(dataset: FrameSet, name: str, label: Label, extensive: bool) -> list[Finding]:
    """Check for outliers and constant labels.

    Args:
        extensive: compare values per atom, after subtracting the part that the composition explains.
    """
    values = dataset.stacked(name).numpy()
    if not len(values):
        return []
    flat = values.reshape(len(values), -1)
    known = np.isfinite(flat).all(1)
    if known.sum() > 1 and np.ptp(flat[known], axis=0).max() == 0:
        return [Finding(name, "warning", "all frames have the same value")]
    rows = np.flatnonzero(known)
    size = np.linalg.norm(flat[known], axis=1) if flat.shape[1] > 1 else flat[known, 0]
    if extensive:
        size = residual(size, composition(dataset)[known]) / dataset.counts("z").numpy()[known]
    if len(size) < 2:
        return []
    deviation = np.abs(size - np.median(size))
    typical = np.median(deviation)
    least = max(OUTLIER * typical, TAIL * float(np.quantile(deviation, 0.9)))
    far = deviation > least
    if typical == 0 or not far.any():
        return []
    frames = np.repeat(np.arange(len(dataset)), rows_of(dataset, label.per))
    file, frame = dataset.where(int(frames[rows][deviation.argmax()]))
    text = (
        f"{int(far.sum())} of {len(size)} {ROWS[label.per]} are outliers, the largest "
        f"{deviation.max() / typical:.0f} typical deviations away, in frame {frame} of {file}"
    )
    return [Finding(name, "warning", text, "check these values")]


def rows_of(dataset: FrameSet, per: str) -> NDArray[np.int64]:
    """Return the number of values of a label in each frame, (frames,)."""
    if per == "graph":
        return np.ones(len(dataset), np.int64)
    return dataset.counts("z" if per == "node" else "edge_index").numpy()

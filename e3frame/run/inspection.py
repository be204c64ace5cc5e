"""Checks the data of a run without training, for ``e3frame check``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table

from e3frame.config.run import RunConfig, TypedRun
from e3frame.data.pipeline.dataset import GraphDataset, Splits
from e3frame.data.pipeline.loader import Excerpt, excerpt, load, survey
from e3frame.preflight.checks import check_data, report
from e3frame.preflight.findings import Finding
from e3frame.preflight.frames import broken_frames
from e3frame.run.frames import Frames
from e3frame.spec.errors import DataError


@dataclass(frozen=True)
class Inspection:
    """Result of the checks.

    Attributes:
        tables: the report.
        frames: the number of frames that were checked, in one line.
        failed: there is a fatal finding: training would fail or be pointless.
    """

    tables: list[Table]
    frames: str
    failed: bool


def inspect_data(run: TypedRun, full: bool) -> Inspection:
    """Check some frames of each split, or all of them with ``full``.

    Raises:
        UserError: the data do not fit the config, a file cannot be read, or none of its frames can.
    """
    config = run.config
    (splits, totals), broken = _loaded(config, full)
    held = {name: len(dataset) for name, dataset in splits.items()}
    data = Frames.of(run, splits, whole=full and not broken)
    needs = data.needs(run)
    findings = [*_remarks(config, data.single.remarks), *broken, *check_data(data.splits, needs, full)]
    frames = ", ".join(f"{held[name]:,} of {total:,} {name}" for name, total in totals.items())
    frames = f"{held['train']:,} valid" if broken else frames
    more = "" if full or held == totals else "; use --full for all"
    failed = any(finding.level == "error" for finding in findings)
    return Inspection(list(report(data.splits, needs, findings)), f"checked {frames} frames{more}", failed)


def _remarks(config: RunConfig, single_atoms: Sequence[str]) -> Iterator[Finding]:
    yield from (Finding("reading", "ok", remark) for remark in config.data.remarks())
    yield from (Finding("single atoms", "note", text) for text in single_atoms)


def _loaded(config: RunConfig, full: bool) -> tuple[Excerpt, list[Finding]]:
    """Load the frames, and findings about broken ones; if there are such, the others form one split.

    Raises:
        DataError: a file cannot be read, or every frame is broken.
    """
    data, r_max, labels = config.data, config.model.r_max, config.needed_labels
    try:
        return Excerpt.whole(load(data, r_max, labels)) if full else excerpt(data, r_max, labels), []
    except DataError as error:
        found = None if error.frame is None else survey(data, r_max, labels, full)
        if found is None or not found.broken or not found.sound:
            raise
    sound = GraphDataset.from_chunks(found.sound, found.files)
    sound.r_max = r_max
    return Excerpt(Splits(sound, None, None), {}), broken_frames(found)

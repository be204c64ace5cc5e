"""The frames of a run: loaded, looked at, and summed up in the numbers that the model takes from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from e3frame.config.output_units import require_file_units
from e3frame.config.run import TypedRun
from e3frame.data.pipeline.batches import require_room
from e3frame.data.pipeline.dataset import Splits
from e3frame.data.pipeline.loader import load
from e3frame.data.pipeline.single_atoms import SingleAtoms, set_apart
from e3frame.data.pipeline.statistics import compute_statistics
from e3frame.evaluate.labels import require_inputs, require_labels
from e3frame.preflight.checks import ODD, Requirements, check_data, findings_table, require_sound
from e3frame.spec.statistics import Statistics
from e3frame.training.session import say


@dataclass(frozen=True)
class Frames:
    """Frames of a run, checked against it.

    Attributes:
        splits: the frames, without single atoms that are reference energies.
        single: these single atoms.
        missing: a line for each label that some frames lack.
    """

    splits: Splits
    single: SingleAtoms
    missing: Sequence[str]

    @classmethod
    def of(cls, typed: TypedRun, splits: Splits, whole: bool = True) -> Frames:
        """Check loaded frames against a run, and separate the single atoms.

        Args:
            typed: the run.
            splits: the frames.
            whole: they are all frames of the run, so that missing labels can be counted.

        Raises:
            DataError: the frames lack labels or inputs of the run.
            SpecError: the config does not fit them.
        """
        config = typed.config
        splits, single = _set_apart(typed, splits)
        require_room(splits, config.data)
        require_file_units(config.task, config.data)
        missing = require_labels(splits, config.task, config.monitors) if whole else []
        for _, dataset in splits.items():
            require_inputs(dataset, config.model.inputs)
        return cls(splits, single, missing)

    def needs(self, typed: TypedRun) -> Requirements:
        """Return the requirements of a run, with the reference energies of the single atoms."""
        return replace(Requirements.of(typed), known=self.single.known(typed.energy_label))

    def report_findings(self, typed: TypedRun, console: Console) -> None:
        """Print probable mistakes in the frames.

        Raises:
            DataError: training on the frames has no use, and ``data.preflight`` is ``refuse``.
        """
        mode = typed.config.data.preflight
        if mode == "off":
            return
        # An element that the model lacks is reported with its place in the config, when the model is resolved.
        needs = replace(self.needs(typed), species=None)
        findings = [finding for finding in check_data(self.splits, needs) if finding.level in ODD]
        if mode == "refuse":
            require_sound(findings)
        if findings:
            console.print(findings_table(findings))

    def statistics(self, typed: TypedRun) -> Statistics:
        """Compute the values that replace ``auto`` in the model."""
        known, allow = self.single.known(typed.energy_label), typed.config.data.allow
        labels = typed.energy_label or "", typed.forces_label or ""
        return compute_statistics(self.splits.train, *labels, mean=typed.is_mean, known=known, allow=allow)


def load_frames(typed: TypedRun, console: Console) -> Frames:
    """Load the frames of a run and check them against it; the errors of :meth:`Frames.of` and of reading files."""
    frames = Frames.of(typed, _load(typed))
    say(console, *typed.config.data.remarks())
    return frames


def load_splits(typed: TypedRun) -> Splits:
    """Load the frames of a run that another process has checked."""
    return _set_apart(typed, _load(typed))[0]


def _load(typed: TypedRun) -> Splits:
    config = typed.config
    return load(config.data, config.model.r_max, config.needed_labels)


def _set_apart(typed: TypedRun, splits: Splits) -> tuple[Splits, SingleAtoms]:
    return set_apart(splits, typed.shifts, "isolated_atoms" in typed.config.data.allow)

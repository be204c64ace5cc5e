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
from e3frame.preflight.checks import ODD, Asked, check_data, findings_table, require_sound
from e3frame.spec.statistics import Statistics
from e3frame.training.session import say


@dataclass(frozen=True)
class Frames:
    """What a run learns from.

    Attributes:
        splits: the frames, without single atoms that are reference energies.
        single: these single atoms.
        missing: a line for each label that some frames lack.
    """

    splits: Splits
    single: SingleAtoms
    missing: Sequence[str]

    def look(self, typed: TypedRun, console: Console) -> None:
        """Print what is odd about the frames.

        Raises:
            DataError: training on them would be in vain, and ``data.preflight`` is ``refuse``.
        """
        mode = typed.config.data.preflight
        if mode == "off":
            return
        # An element that the model lacks is reported with its place in the config, when the model is resolved.
        asked = replace(Asked.of(typed), species=None, known=self.single.known(typed.energy_label))
        findings = [finding for finding in check_data(self.splits, asked) if finding.level in ODD]
        if mode == "refuse":
            require_sound(findings)
        if findings:
            console.print(findings_table(findings))

    def statistics(self, typed: TypedRun) -> Statistics:
        """What replaces ``auto`` in the model."""
        known, allow = self.single.known(typed.energy_label), typed.config.data.allow
        labels = typed.energy_label or "", typed.forces_label or ""
        return compute_statistics(self.splits.train, *labels, mean=typed.is_mean, known=known, allow=allow)


def load_frames(typed: TypedRun, console: Console) -> Frames:
    """Load the frames of a run.

    Raises:
        DataError: they cannot be read, or lack what the run asks for.
        SpecError: the config does not fit them.
    """
    config = typed.config
    splits, single = load_splits(typed)
    require_room(splits, config.data)
    require_file_units(config.task, config.data)
    missing = require_labels(splits, config.task, config.monitors)
    for _, dataset in splits.items():
        require_inputs(dataset, config.model.inputs)
    say(console, *config.data.remarks())
    return Frames(splits, single, missing)


def load_splits(typed: TypedRun) -> tuple[Splits, SingleAtoms]:
    """The frames to train, validate and test on, and the single atoms that are reference energies instead."""
    config = typed.config
    splits = load(config.data, config.model.r_max, config.asked_of_frames)
    return set_apart(splits, typed.shifts, "isolated_atoms" in config.data.allow)

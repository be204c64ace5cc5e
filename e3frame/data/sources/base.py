"""What a source of data declares, and what a model may ask of it. Imports no torch: configs are read without it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from e3frame.data.sources.augment import AugmentSpec
from e3frame.data.sources.budget import BatchSize
from e3frame.files.regular import with_home
from e3frame.spec.errors import DataError, SpecError, did_you_mean, nearest
from e3frame.spec.registry import Kinded

if TYPE_CHECKING:
    from e3frame.data.pipeline.dataset import Splits
    from e3frame.data.pipeline.sampled import Sample
    from e3frame.data.sources.edge_keys import EdgeKeys
    from e3frame.preflight.broken import Survey
    from e3frame.spec.units import Units


def default_cache_folder() -> Path:
    """Where processed data are kept unless a spec says otherwise."""
    return with_home(os.environ.get("E3FRAME_CACHE") or "~/.cache/e3frame")


TASKS_WITHOUT = {"forces": "task=energy", "stress": "task=energy_forces"}
"""Label: the task that does without it, which is meant where the first frame lacks it already."""

ALLOW_ISOLATED = "data.allow=[isolated_atoms]"
NOT_FETCHED = "not downloaded yet; --full downloads and looks at all"


class Label(NamedTuple):
    """A quantity that frames are labelled with; its tensor is (1, *shape) per graph, (atoms, *shape) per node or
    (edges, *shape) per edge."""

    per: Literal["graph", "node", "edge"]
    shape: tuple[int, ...] = ()


class DataSpec(Kinded, family="data set"):
    """A source of training, validation and test frames.

    A new kind is a subclass with a ``kind``, the two properties and :meth:`load`, in a module that is imported by
    ``e3frame.data.sources.specs``; anything heavy is imported inside :meth:`load`.
    """

    batch_size: BatchSize = 8
    """Frames per training step, or what fits: ``{atoms: 500}`` or ``{edges: 10000}``. Every frame comes once in an
    epoch, and all epochs have the same number of steps; some batches are a little smaller for it."""
    eval_batch_size: BatchSize = 64
    """The same per step of validation and test."""
    num_workers: int = Field(default=0, ge=0)
    """Processes that prepare batches; 0: the training process itself, which is best for frames held in memory."""
    storage: Literal["memory", "disk"] = "memory"
    """Where the prepared frames, with their neighbours, are while training reads them. disk: in one file in the folder
    of the processed data, from which each batch is read, for sets larger than memory; nothing holds them all, the
    results have the same bits, and a few ``num_workers`` read ahead. An .npz file is read as a whole; and after the
    training, predictions and labels of all frames are compared in memory."""
    cache_dir: str | None = None
    """Folder of the processed data; null: $E3FRAME_CACHE, else ~/.cache/e3frame."""

    neighbors: Literal["stored", "computed"] = "stored"
    """Whether prepared frames hold their neighbours, or they are found each time a frame is read, by the processes that
    prepare batches. computed: the frames take a tenth of the room or less, each step some more time, and the results
    have the same bits."""
    augment: AugmentSpec | None = None
    """Random changes of the training frames; null: none."""
    allow: tuple[Literal["isolated_atoms", "zero_forces"], ...] = ()
    """What is no mistake in these data. isolated_atoms: atoms that have no neighbour within r_max, as at the end of a
    dissociation. zero_forces: forces that are all zero, as by the symmetry of cells with one atom."""
    single_atoms: Literal["references", "frames"] = "references"
    """What frames of one atom without neighbours are, where the model has reference energies. references: their
    energies are the reference energies, and nothing is trained on them or tested by them, unless the model's are
    numbers that differ by more than 1 meV; frames: they are frames like all others."""
    preflight: Literal["refuse", "warn", "off"] = "refuse"
    """Before training, the data are looked at: refuse those with a gross error (a sign, a unit, a tensor that does not
    turn with its molecule), or warn of it alone."""

    @property
    def absent(self) -> str | None:
        """Why ``e3frame check`` cannot look into the data as they are; None where it can."""
        return None

    @property
    def label_names(self) -> tuple[str, ...]:
        """Labels that the source declares it can supply."""
        raise NotImplementedError

    @property
    def known_species(self) -> tuple[str, ...] | None:
        """Chemical symbols by atomic number where they are known without reading the data, else None."""
        raise NotImplementedError

    @property
    def file_units(self) -> Units | None:
        """Units that the user says the files have; None where that is known."""
        return None

    def found_units(self) -> Units | None:
        """The same, with what the files say of their units."""
        return self.file_units

    def remarks(self) -> list[str]:
        """What is read in a way that its user should know of, a line each."""
        return []

    @property
    def edge_labels(self) -> Mapping[str, EdgeKeys]:
        """Of the labels, those that pairs of atoms have, and the keys of the pairs."""
        return {}

    def idle(self, asked: Collection[str], way: Callable[[str], str]) -> Iterator[SpecError]:
        """Options that do nothing, with their paths from here.

        Args:
            asked: labels that the run learns or reads.
            way: what to write so that a label is learned.
        """
        yield from ()

    def files_read(self) -> list[str]:
        """Files of the user's whose content decides what the data are; none for data that are always the same.

        Raises:
            DataError: one is not there.
        """
        return []

    def key_of(self, label: str) -> str:
        """Where a label stands in the source, for the reader of a report."""
        return label

    def way_to(self, label: str, alike: Collection[str] | None = None) -> str:
        """What would work where a label is asked for that is not declared.

        Args:
            alike: labels that may have been meant; None: all.
        """
        match = nearest(label, self.label_names if alike is None else alike)
        if match is not None:
            return f"did you mean {match}?"
        return f"labels there: {', '.join(self.label_names)}\n{self._source_of(label)}"

    def _source_of(self, label: str) -> str:
        return f"others come from files: data=xyz data.keys.{label}=KEY"

    def load(self, r_max: float, labels: Mapping[str, Label]) -> Splits:
        """Graphs with neighbours within ``r_max`` (Å) and just these labels, or more.

        Raises:
            DataError: for anything that is wrong with the data, with the file and the frame.
        """
        raise NotImplementedError

    def sample(self, r_max: float, labels: Mapping[str, Label]) -> Sample:
        """Some frames of each split, or all where they are few, and how many there are."""
        from e3frame.data.pipeline.sampled import Sample

        return Sample.whole(self.load(r_max, labels))

    def survey(self, r_max: float, labels: Mapping[str, Label], full: bool) -> Survey | None:
        """Every frame that :meth:`sample`, or with ``full`` :meth:`load`, reads, with the broken ones told apart; None
        for data that nobody can break."""
        return None

    def cache_folder(self) -> Path:
        """Where processed data are kept."""
        return default_cache_folder() if not self.cache_dir else with_home(self.cache_dir)

    def require_declared(self, labels: Mapping[str, Label]) -> None:
        """Raises DataError where a label is asked for that the source does not declare."""
        for name, label in labels.items():
            if name not in self.label_names:
                raise DataError(
                    f"the data do not declare a label {name}", hint=did_you_mean(name, self.label_names, "declared")
                )
            if misfit := self.edge_misfit(name, label):
                raise DataError(misfit[0], hint=misfit[1])

    def edge_misfit(self, name: str, label: Label) -> tuple[str, str | None] | None:
        """What is wrong, and a mend, where a label is of pairs of atoms and asked for otherwise, or the other way
        round; None if it fits."""
        keys = self.edge_labels.get(name)
        if keys is None:
            if label.per != "edge":
                return None
            hint = f"data.edges.{name}={{index: KEY}} names the key of the pairs"
            return f"the data do not say which pairs of atoms the label '{name}' is of", hint
        if label.per != "edge":
            return f"the label '{name}' is per edge in the data, per {label.per} is asked for", None
        if keys.reverse == "transposed" and len(label.shape) != 2:
            hint = f"such as same or negative for data.edges.{name}.reverse"
            return f"transposed is for matrices, the label '{name}' is {label.shape} per edge", hint
        return None

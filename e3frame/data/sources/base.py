"""Base class of data sources: common options, and what a source declares to the type checker and the loader.

Imports no torch: configs are read without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field

from e3frame.data.sources.augment import AugmentSpec
from e3frame.data.sources.budget import BatchSize
from e3frame.data.sources.edge_labels import EdgeLabelSpec
from e3frame.data.sources.splitting import SplitSpec
from e3frame.files.regular import with_home
from e3frame.spec.errors import DataError, SpecError, did_you_mean, nearest
from e3frame.spec.registry import Kinded, OneOf

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms
    from numpy.typing import NDArray

    from e3frame.data.formats.portions import Frame
    from e3frame.spec.units import Units


TASKS_WITHOUT = {"forces": "task=energy", "stress": "task=energy_forces"}
"""Task preset that works without a label, suggested if the first frame lacks the label."""

ALLOW_ISOLATED = "data.allow=[isolated_atoms]"
NOT_FETCHED = "not downloaded yet; --full downloads and checks everything"


def default_cache_folder() -> Path:
    """Return the default folder for cached data."""
    return with_home(os.environ.get("E3FRAME_CACHE") or "~/.cache/e3frame")


class Label(NamedTuple):
    """Label of frames. Its tensor has the shape (1, *shape) per graph, (atoms, *shape) per node or (edges, *shape) per
    edge."""

    per: Literal["graph", "node", "edge"]
    shape: tuple[int, ...] = ()


class DataSpec(Kinded, family="data set"):
    """A source of training, validation and test frames.

    A new kind is a subclass with a ``kind``, ``label_names``, ``known_species``, :meth:`divide` and :meth:`read`, in a
    file of this folder or in a plugin; heavy modules are imported inside the methods. Formats of user files derive from
    :class:`~e3frame.data.sources.files.FilesSpec`, data sets that users split from :class:`DividedSpec`. All further
    steps, from units and neighbours to the cache, are done by :mod:`e3frame.data.pipeline.loader` for all kinds.
    """

    batch_size: BatchSize = 8
    """Frames per training step, or a budget: ``{atoms: 500}`` or ``{edges: 10000}``. Each epoch uses every frame once
    and has the same number of steps, so some batches are smaller."""
    eval_batch_size: BatchSize = 64
    """Frames, or a budget, per validation and test step."""
    num_workers: int = Field(default=0, ge=0)
    """Processes that prepare batches; 0: the training process itself (best for frames in memory)."""
    processes: int | None = Field(default=None, ge=1)
    """Processes that read frames and find neighbours before the training; null: one per core."""
    storage: Literal["memory", "disk"] = "memory"
    """Storage of the prepared frames during training. memory: all frames in RAM. disk: one SQLite file in the cache
    folder, for data sets larger than memory; results are bitwise equal; use a few ``num_workers`` to read ahead. (.npz
    files are still read whole, and the final evaluation holds all predictions and labels in memory.)"""
    cache_dir: str | None = None
    """Folder of cached data; null: $E3FRAME_CACHE, else ~/.cache/e3frame."""
    neighbors: Literal["stored", "computed"] = "stored"
    """Whether neighbours are stored with the prepared frames, or computed each time a frame is read. computed: frames
    need a tenth of the space or less, each step takes somewhat longer, and results are bitwise equal."""
    augment: AugmentSpec | None = None
    """Random changes of the training frames; null: none."""
    allow: tuple[Literal["isolated_atoms", "zero_forces"], ...] = ()
    """Properties of these data that are not errors. isolated_atoms: atoms without neighbours within r_max, as in
    dissociation curves. zero_forces: all forces are zero, as by symmetry in cells with one atom."""
    single_atoms: Literal["references", "frames"] = "references"
    """Use of frames with a single isolated atom, if the model has reference energies. references: their energies are
    the reference energies, and the frames are excluded from training and test, unless the model has given reference
    energies that differ by more than 1 meV. frames: treat them like all others."""
    preflight: Literal["refuse", "warn", "off"] = "refuse"
    """Check of the data before training. refuse: gross errors (a sign, a unit, a tensor that does not rotate with its
    molecule) stop the run. warn: they only give a warning. off: no check."""

    piece: ClassVar[int] = 512
    """Number of frames that one process prepares at a time."""
    part: ClassVar[float] = 0.5
    """Fraction of the frames up to which only those of the splits are prepared, instead of all."""

    # Declared to the type checker, without reading the data.

    @property
    def label_names(self) -> tuple[str, ...]:
        """Labels that the source has."""
        raise NotImplementedError

    @property
    def known_species(self) -> tuple[str, ...] | None:
        """Chemical symbols by atomic number, or None if they are unknown before the data are read."""
        raise NotImplementedError

    @property
    def label_keys(self) -> Mapping[str, str]:
        """Key of each label in the frames."""
        return {name: name for name in self.label_names}

    @property
    def edge_labels(self) -> Mapping[str, EdgeLabelSpec]:
        """Labels per edge, with the keys of their pairs of atoms."""
        return {}

    @property
    def prepared_labels(self) -> Mapping[str, Label]:
        """Labels that prepared frames always have, even if they are not needed."""
        return {}

    @property
    def may_lack(self) -> tuple[str, ...]:
        """Labels that some frames may lack."""
        return ()

    @property
    def file_units(self) -> Units | None:
        """Units of the files as set by the user; None for sources with fixed units."""
        return None

    def found_units(self, files: Sequence[str] | None = None) -> Units | None:
        """Return the units of some files (None: the training files), as set by the user or else stated by the files."""
        return self.file_units

    @property
    def paths(self) -> tuple[str, ...]:
        """User files as written in the config; empty for fixed data sets."""
        return ()

    @property
    def title(self) -> str:
        """Name of the data in tables and messages."""
        return ", ".join(self.paths) or f"data={self.kind}"

    @property
    def absent(self) -> str | None:
        """Reason why ``e3frame check`` cannot read the data yet; None if it can."""
        return None

    def remarks(self) -> list[str]:
        """Return notes on how the data are read, one line each."""
        return []

    def idle(self, asked: Collection[str], way: Callable[[str], str]) -> Iterator[SpecError]:
        """Yield an error for each option without effect, with its path relative to this spec.

        Args:
            asked: labels that the run learns or reads.
            way: returns a hint how to learn a label.
        """
        yield from ()

    def files_read(self) -> list[str]:
        """Return the user files that the data depend on; empty for fixed data sets.

        Raises:
            DataError: a file does not exist.
        """
        return []

    def key_of(self, label: str) -> str:
        """Return the key of a label in the source, for reports."""
        return label

    def lenient(self, labels: Collection[str]) -> Self:
        """Return the same data, but frames may lack any label, and undeclared ``labels`` are read by their names."""
        return self

    @property
    def is_divided(self) -> bool:
        """Whether the user or the data set defines the test frames; False if they are a default."""
        return True

    def as_one_set(self) -> Self | None:
        """Return the same data with all frames in the training split; None if the split cannot be changed."""
        return None

    # Called by the loader.

    def resolved(self) -> DataSpec:
        """Return the source to read: this one, or the files that it stands for, which are downloaded first."""
        return self

    def file_sets(self) -> Mapping[str, tuple[str, ...]]:
        """Return the files of each split. :meth:`divide` distributes the frames in the files of ``train`` among all
        splits without files. A source without files has a name here, for messages.

        Raises:
            DataError: a file does not exist.
        """
        return {"train": (self.title,)}

    def contents(self, files: Sequence[str]) -> Sequence[str | Path]:
        """Return the files on disk whose bytes determine the frames of ``files``."""
        return ()

    def read_options(self) -> list[Any]:
        """Return the options that the frames depend on, as JSON values: by default those that this kind defines."""
        own = type(self).model_fields.keys() - self._common_fields() - {"kind"}
        values = self.model_dump(mode="json")
        return [values[name] for name in type(self).model_fields if name in own]

    @classmethod
    def _common_fields(cls) -> set[str]:
        """Return the options that do not change the frames that are read from a file."""
        return {*DataSpec.model_fields}

    def read(self, file: str) -> Iterator[Atoms]:
        """Yield all frames of a file in order and in its units, with labels in ``info``, ``arrays`` or ASE's results.

        A format needs no other method. If frames can be counted or read by number, :meth:`count`, :meth:`portions` and
        :meth:`frames` make it faster.

        Raises:
            Exception: any error; it becomes the error of the next frame.
        """
        raise NotImplementedError

    def count(self, file: str) -> int | None:
        """Return the number of frames of a file, or None if that needs reading them."""
        return None

    def portions(self, file: str, frames: Sequence[int] | None, size: int) -> Iterator[Any]:
        """Yield frames of a file (in ascending order; None: all) in portions of ``size`` that :meth:`frames` can read
        in another process; one pass over the file.

        Raises:
            DataError: the file cannot be read.
        """
        from e3frame.data.formats.portions import in_order, portions

        return portions(in_order(self.read(file), file, self.kind, frames), size)

    def frames(self, file: str, portion: Any) -> Iterator[Frame]:
        """Yield the frames of a portion with their numbers; for an unreadable frame, its error."""
        yield from portion

    @property
    def group_key(self) -> str | None:
        """Key of the frames to group by: frames with equal values stay in one split; None if frames are not grouped."""
        return None

    @property
    def takes_few(self) -> bool:
        """Whether the splits may leave out many frames, so that counting the frames first can save reading them."""
        return True

    def divide(self, total: int, groups: NDArray[np.int64] | None = None) -> dict[str, NDArray[np.int64]]:
        """Return the numbers of the frames of each split, in ascending order.

        Args:
            total: number of frames in the training files.
            groups: group of each frame, (total,), if there is a :attr:`group_key`; equal numbers stay together.
        """
        raise NotImplementedError

    def sizes(self, total: int) -> dict[str, int]:
        """Return the number of frames in each split; with groups, these are approximate."""
        return {name: len(part) for name, part in self.divide(total).items()}

    def cache_folder(self) -> Path:
        """Return the folder of cached data."""
        return default_cache_folder() if not self.cache_dir else with_home(self.cache_dir)

    # Checks of the needed labels against the declared ones.

    def way_to(self, label: str, alike: Collection[str] | None = None) -> str:
        """Return a hint for a label that the source does not declare.

        Args:
            alike: labels to suggest from; None: all.
        """
        match = nearest(label, self.label_names if alike is None else alike)
        if match is not None:
            return f"did you mean {match}?"
        return f"existing labels: {', '.join(self.label_names)}\n{self._source_of(label)}"

    def _source_of(self, label: str) -> str:
        return f"read other labels from your own files: data=xyz data.keys.{label}=KEY"

    def require_declared(self, labels: Mapping[str, Label]) -> None:
        """Raise DataError for a label that the source does not declare, or declares with another type."""
        for name, label in labels.items():
            if name not in self.label_names:
                raise DataError(f"the data have no label {name}", hint=did_you_mean(name, self.label_names, "declared"))
            held = self.prepared_labels.get(name, label)
            if held != label:
                problem = f"{name} has shape {held.shape} per {held.per}, but {label.shape} per {label.per} is needed"
                raise DataError(problem)
            if misfit := self.edge_misfit(name, label):
                raise DataError(misfit[0], hint=misfit[1])

    def edge_misfit(self, name: str, label: Label) -> tuple[str, str | None] | None:
        """Return problem and hint if a label per edge is needed per graph or node, or vice versa; None if it fits."""
        stored = self.edge_labels.get(name)
        if stored is None:
            if label.per != "edge":
                return None
            hint = f"set data.edges.{name}={{index: KEY}} to the key of the pairs"
            return f"the label '{name}' is needed per edge, but the data do not define its pairs of atoms", hint
        if label.per != "edge":
            return f"the label '{name}' is per edge in the data, but per {label.per} in the model", None
        if stored.reverse == "transposed" and len(label.shape) != 2:
            hint = f"set data.edges.{name}.reverse to same or negative"
            return f"transposed needs a matrix, but the label '{name}' is {label.shape} per edge", hint
        return None


class DividedSpec(DataSpec):
    """A source whose frames the user splits by ``split``."""

    split: SplitSpec = SplitSpec()
    """Split of the frames into training, validation and test."""

    @classmethod
    def _common_fields(cls) -> set[str]:
        return {*DividedSpec.model_fields}

    @property
    def elsewhere(self) -> frozenset[str]:
        """Splits that have separate files."""
        return frozenset()

    @property
    def group_key(self) -> str | None:
        return self.split.key if self.split.method == "group" else None

    @property
    def takes_few(self) -> bool:
        return self.split.takes_few

    def divide(self, total: int, groups: NDArray[np.int64] | None = None) -> dict[str, NDArray[np.int64]]:
        try:
            return self.split.divide(total, self.elsewhere, groups)
        except DataError as error:
            raise type(error)(error.problem, file=error.file or self.title, hint=error.hint) from None

    def sizes(self, total: int) -> dict[str, int]:
        return self.split.sizes(total, self.elsewhere)

    def as_one_set(self) -> Self | None:
        # There may be too few frames to split.
        return None if self.elsewhere else self.replace(split=SplitSpec(val=0, test=0))


AnyData = OneOf[DataSpec]
"""Field type for any kind of data set."""

parse_data = DataSpec.parse
"""``parse_data(raw)``: the spec that ``raw["kind"]`` names, validated; usable as a pydantic BeforeValidator."""

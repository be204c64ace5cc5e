"""Base of all sources of data: their common options, and what they declare to the type checker and to the loader.

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
"""Label: the task that does without it, suggested where the first frame lacks it."""

ALLOW_ISOLATED = "data.allow=[isolated_atoms]"
NOT_FETCHED = "not downloaded yet; --full downloads and looks at all"


def default_cache_folder() -> Path:
    """Folder of prepared data unless a spec names another one."""
    return with_home(os.environ.get("E3FRAME_CACHE") or "~/.cache/e3frame")


class Label(NamedTuple):
    """Type of a labelled quantity; its tensor is (1, *shape) per graph, (atoms, *shape) per node or (edges, *shape)
    per edge."""

    per: Literal["graph", "node", "edge"]
    shape: tuple[int, ...] = ()


class DataSpec(Kinded, family="data set"):
    """A source of training, validation and test frames.

    A new kind is a subclass with a ``kind``, ``label_names``, ``known_species``, :meth:`divide` and :meth:`read`, in a
    file of this folder or in a plugin; whatever is heavy is imported inside the methods. Files of users derive from
    :class:`~e3frame.data.sources.files.FilesSpec`, sets that users divide from :class:`DividedSpec`. Everything that
    follows, from units and neighbours to the cache, is done by :mod:`e3frame.data.pipeline.loader` for all kinds.
    """

    batch_size: BatchSize = 8
    """Frames per training step, or what fits: ``{atoms: 500}`` or ``{edges: 10000}``. Every frame comes once in an
    epoch, and all epochs have the same number of steps; some batches are a little smaller for it."""
    eval_batch_size: BatchSize = 64
    """Frames per step of validation and test, or what fits."""
    num_workers: int = Field(default=0, ge=0)
    """Processes that prepare batches; 0: the training process itself, which is best for frames held in memory."""
    processes: int | None = Field(default=None, ge=1)
    """Processes that read frames and find neighbours before the training; null: one per core."""
    storage: Literal["memory", "disk"] = "memory"
    """Where the prepared frames are held during training. disk: in one file in the folder
    of the processed data, from which each batch is read, for sets larger than memory; nothing holds them all, the
    results have the same bits, and a few ``num_workers`` read ahead. An .npz file is read as a whole; and after the
    training, predictions and labels of all frames are compared in memory."""
    cache_dir: str | None = None
    """Folder of the processed data; null: $E3FRAME_CACHE, else ~/.cache/e3frame."""
    neighbors: Literal["stored", "computed"] = "stored"
    """Whether neighbours are stored with the prepared frames, or computed each time a frame is read. computed: the
    processes that prepare batches find them; frames take a tenth of the room or less, each step some more time, and
    the results have the same bits."""
    augment: AugmentSpec | None = None
    """Random changes of the training frames; null: none."""
    allow: tuple[Literal["isolated_atoms", "zero_forces"], ...] = ()
    """Oddities to accept in these data. isolated_atoms: atoms that have no neighbour within r_max, as at the end
    of a dissociation. zero_forces: forces that are all zero, as by the symmetry of cells with one atom."""
    single_atoms: Literal["references", "frames"] = "references"
    """How to use frames of one atom without neighbours if the model has reference energies. references: their
    energies are the reference energies, and nothing is trained on them or tested by them, unless the model's are
    numbers that differ by more than 1 meV; frames: they are frames like all others."""
    preflight: Literal["refuse", "warn", "off"] = "refuse"
    """Whether data with a gross error (a sign, a unit, a tensor that does not rotate with its molecule) are refused
    before the training, only warned of, or not looked at."""

    piece: ClassVar[int] = 512
    """Frames that one process prepares at a time."""
    part: ClassVar[float] = 0.5
    """Where the splits take no more than this part of the frames, only those are prepared."""

    # Declared to the type checker, without reading the data.

    @property
    def label_names(self) -> tuple[str, ...]:
        """Labels that the source can supply."""
        raise NotImplementedError

    @property
    def known_species(self) -> tuple[str, ...] | None:
        """Chemical symbols by atomic number where they are known without reading the data, else None."""
        raise NotImplementedError

    @property
    def label_keys(self) -> Mapping[str, str]:
        """Label: the key that holds it in the frames."""
        return {name: name for name in self.label_names}

    @property
    def edge_labels(self) -> Mapping[str, EdgeLabelSpec]:
        """Labels per edge: where their pairs of atoms are stored."""
        return {}

    @property
    def prepared_labels(self) -> Mapping[str, Label]:
        """Labels that prepared frames hold whether they are asked for or not."""
        return {}

    @property
    def may_lack(self) -> tuple[str, ...]:
        """Labels that some frames may lack."""
        return ()

    @property
    def file_units(self) -> Units | None:
        """Units that the user gives for the files; None for a source whose units are known."""
        return None

    def found_units(self, files: Sequence[str] | None = None) -> Units | None:
        """Units of some files (None: those of the training frames): the user's, else those that the files state."""
        return self.file_units

    @property
    def paths(self) -> tuple[str, ...]:
        """The user's own files as written in the config; none for a data set that is the same for everyone."""
        return ()

    @property
    def title(self) -> str:
        """Name of the data in tables and messages."""
        return ", ".join(self.paths) or f"data={self.kind}"

    @property
    def absent(self) -> str | None:
        """Reason why ``e3frame check`` cannot look into the data now; None where it can."""
        return None

    def remarks(self) -> list[str]:
        """Lines about how the files are read that the user should know."""
        return []

    def idle(self, asked: Collection[str], way: Callable[[str], str]) -> Iterator[SpecError]:
        """Options without effect, with their paths from here.

        Args:
            asked: labels that the run learns or reads.
            way: tells what to write so that a label is learned.
        """
        yield from ()

    def files_read(self) -> list[str]:
        """Files of the user's whose content decides what the data are.

        Raises:
            DataError: a file does not exist.
        """
        return []

    def key_of(self, label: str) -> str:
        """Where a label is stored, for the reader of a report."""
        return label

    def lenient(self, labels: Collection[str]) -> Self:
        """The same data where any frame may lack any label, and undeclared ``labels`` are read under their names."""
        return self

    @property
    def is_divided(self) -> bool:
        """Whether it is known which frames are for the test; False where that is only a default."""
        return True

    def as_one_set(self) -> Self | None:
        """The same data, all frames in the training split; None where the division cannot be changed so."""
        return None

    # Asked by the loader.

    def resolved(self) -> DataSpec:
        """The source that is read: this one, or the files that it stands for, which are downloaded first."""
        return self

    def file_sets(self) -> Mapping[str, tuple[str, ...]]:
        """Files by split. Frames of the files of ``train`` are divided by :meth:`divide` among all splits without files
        of their own. A source that is no file has a name here, for messages.

        Raises:
            DataError: a file does not exist.
        """
        return {"train": (self.title,)}

    def contents(self, files: Sequence[str]) -> Sequence[str | Path]:
        """Files on disk whose bytes the frames of ``files`` depend on."""
        return ()

    def read_options(self) -> list[Any]:
        """Values of the options, in a form for JSON, on which the frames depend: by default of those of this kind."""
        own = type(self).model_fields.keys() - self._common_fields() - {"kind"}
        values = self.model_dump(mode="json")
        return [values[name] for name in type(self).model_fields if name in own]

    @classmethod
    def _common_fields(cls) -> set[str]:
        """Options that do not change what is read from a file."""
        return {*DataSpec.model_fields}

    def read(self, file: str) -> Iterator[Atoms]:
        """All frames of a file in order, with labels in ``info``, ``arrays`` or ASE's results, in the file's units.

        This is all that a format needs. One whose frames can be counted, or reached by number, is faster with
        :meth:`count`, :meth:`portions` and :meth:`frames`.

        Raises:
            Exception: anything; it becomes the error of the frame that was to come.
        """
        raise NotImplementedError

    def count(self, file: str) -> int | None:
        """Number of frames of a file; None where only reading them all tells."""
        return None

    def portions(self, file: str, frames: Sequence[int] | None, size: int) -> Iterator[Any]:
        """Frames of a file (in rising order; None: all), ``size`` at a time, in a form that another process can make
        frames of; the file is read through once.

        Raises:
            DataError: the file cannot be read.
        """
        from e3frame.data.formats.portions import in_order, portions

        return portions(in_order(self.read(file), file, self.kind, frames), size)

    def frames(self, file: str, portion: Any) -> Iterator[Frame]:
        """Frames of a portion with their numbers; an error in place of a frame that cannot be read."""
        yield from portion

    @property
    def group_key(self) -> str | None:
        """Key of the frames whose equal values stay in one split; None for a division that needs no values."""
        return None

    @property
    def takes_few(self) -> bool:
        """Whether the splits may leave out frames, so that the number of frames is worth knowing before reading."""
        return True

    def divide(self, total: int, groups: NDArray[np.int64] | None = None) -> dict[str, NDArray[np.int64]]:
        """Numbers of the frames of each split, in rising order.

        Args:
            total: frames of the training files.
            groups: (total,) where there is a :attr:`group_key`: equal numbers stay together.
        """
        raise NotImplementedError

    def sizes(self, total: int) -> dict[str, int]:
        """Number of frames of each split, which groups reach as nearly as they can."""
        return {name: len(part) for name, part in self.divide(total).items()}

    def cache_folder(self) -> Path:
        """Folder of prepared data."""
        return default_cache_folder() if not self.cache_dir else with_home(self.cache_dir)

    # Labels that are asked for against those that are declared.

    def way_to(self, label: str, alike: Collection[str] | None = None) -> str:
        """What to write where a label is asked for that is not declared.

        Args:
            alike: labels that may have been meant; None: all.
        """
        match = nearest(label, self.label_names if alike is None else alike)
        if match is not None:
            return f"did you mean {match}?"
        return f"labels there: {', '.join(self.label_names)}\n{self._source_of(label)}"

    def _source_of(self, label: str) -> str:
        return f"others come from files: data=xyz data.keys.{label}=KEY"

    def require_declared(self, labels: Mapping[str, Label]) -> None:
        """Raise DataError for a label that the source does not declare, or declares with another type."""
        for name, label in labels.items():
            if name not in self.label_names:
                raise DataError(f"the data have no label {name}", hint=did_you_mean(name, self.label_names, "declared"))
            held = self.prepared_labels.get(name, label)
            if held != label:
                raise DataError(f"{name} is of shape {held.shape} per {held.per}, not {label.shape} per {label.per}")
            if misfit := self.edge_misfit(name, label):
                raise DataError(misfit[0], hint=misfit[1])

    def edge_misfit(self, name: str, label: Label) -> tuple[str, str | None] | None:
        """Problem and hint where a label is per edge in the data or in the request alone; None if it fits."""
        stored = self.edge_labels.get(name)
        if stored is None:
            if label.per != "edge":
                return None
            hint = f"data.edges.{name}={{index: KEY}} names the key of the pairs"
            return f"the data do not name the pairs of atoms of the label '{name}'", hint
        if label.per != "edge":
            return f"the label '{name}' is per edge in the data, but is used per {label.per}", None
        if stored.reverse == "transposed" and len(label.shape) != 2:
            hint = f"write same or negative for data.edges.{name}.reverse"
            return f"transposed needs a matrix, but the label '{name}' is {label.shape} per edge", hint
        return None


class DividedSpec(DataSpec):
    """A source whose frames the user divides by ``split``."""

    split: SplitSpec = SplitSpec()
    """How the frames are divided."""

    @classmethod
    def _common_fields(cls) -> set[str]:
        return {*DividedSpec.model_fields}

    @property
    def elsewhere(self) -> frozenset[str]:
        """Splits that have files of their own."""
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
        # There may be too few frames to divide.
        return None if self.elsewhere else self.replace(split=SplitSpec(val=0, test=0))


AnyData = OneOf[DataSpec]
"""Type of a spec's field that takes any kind of data set."""

parse_data = DataSpec.parse
"""``parse_data(raw)``: the spec that ``raw["kind"]`` names, validated; usable as a pydantic BeforeValidator."""

"""What a source of data declares, and what a model may ask of it. Imports no torch: configs are read without it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from e3frame.spec.errors import DataError, did_you_mean
from e3frame.spec.registry import Kinded

if TYPE_CHECKING:
    from e3frame.data.dataset import Splits
    from e3frame.data.preflight.broken import Survey

RESERVED = frozenset(
    [
        "pos",
        "z",
        "edge_index",
        "edge_shift",
        "cell",
        "pbc",
        "frame",
        "file",
        "group",
        "batch",
        "ptr",
        "num_graphs",
        "num_nodes",
    ]
)
"""Keys of a graph, and of a batch of them, that no label can have."""


def default_cache_folder() -> Path:
    """Where processed data are kept unless a spec says otherwise."""
    return Path(os.environ.get("E3FRAME_CACHE") or "~/.cache/e3frame").expanduser()


class Label(NamedTuple):
    """A quantity that frames are labelled with; its tensor is (1, *shape) per graph or (atoms, *shape) per node."""

    per: Literal["graph", "node"]
    shape: tuple[int, ...] = ()


class DataSpec(Kinded, family="data set"):
    """A source of training, validation and test frames.

    A new kind is a subclass with a ``kind``, the two properties and :meth:`load`, in a module that is imported by
    ``e3frame.data.specs``; anything heavy is imported inside :meth:`load`.
    """

    batch_size: int = Field(default=8, ge=1)
    """Frames per training step."""
    eval_batch_size: int = Field(default=64, ge=1)
    """Frames per step of validation and test."""
    num_workers: int = Field(default=0, ge=0)
    """Processes that prepare batches; 0: the training process itself, which is best for frames held in memory."""
    cache_dir: str | None = None
    """Folder of the processed data; null: $E3FRAME_CACHE, else ~/.cache/e3frame."""

    preflight: Literal["refuse", "warn", "off"] = "refuse"
    """Before training, the data are looked at: refuse those with a gross error (a sign, a unit, a tensor that does not
    turn with its molecule), or warn of it alone."""

    @property
    def is_local(self) -> bool:
        """Whether ``e3frame check`` looks into the data unasked."""
        return False

    @property
    def label_names(self) -> tuple[str, ...]:
        """Labels that the source declares it can supply."""
        raise NotImplementedError

    @property
    def known_species(self) -> tuple[str, ...] | None:
        """Chemical symbols by atomic number where they are known without reading the data, else None."""
        raise NotImplementedError

    def load(self, r_max: float, labels: Mapping[str, Label]) -> Splits:
        """Graphs with neighbours within ``r_max`` (Å) and just these labels, or more.

        Raises:
            DataError: for anything that is wrong with the data, with the file and the frame.
        """
        raise NotImplementedError

    def sample(self, r_max: float, labels: Mapping[str, Label]) -> Splits:
        """Some frames, or all where that costs no more."""
        return self.load(r_max, labels)

    def survey(self, r_max: float, labels: Mapping[str, Label], full: bool) -> Survey | None:
        """Every frame of :meth:`sample`, or of all, with the broken ones told apart; None for data that are made once
        for all, in which the first mistake says enough."""
        return None

    def cache_folder(self) -> Path:
        """Where processed data are kept."""
        return default_cache_folder() if not self.cache_dir else Path(self.cache_dir).expanduser()

    def require_declared(self, labels: Mapping[str, Label]) -> None:
        """Raises DataError where a label is asked for that the source does not declare."""
        for name in labels:
            if name not in self.label_names:
                raise DataError(
                    f"the data do not declare a label {name}", hint=did_you_mean(name, self.label_names, "declared")
                )

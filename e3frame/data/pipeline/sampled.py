"""Some frames of each split, for a first look at sets of any size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from e3frame.data.pipeline.dataset import GraphDataset, Splits
from e3frame.data.pipeline.frameset import FrameSet
from e3frame.data.pipeline.prepare import Recipe, prepared

TRAIN, OTHERS = 500, 250
"""Frames that are looked at of the training frames, besides the neighbours of others, and of each other split."""

Parts = Mapping[str, NDArray[np.int64]]
"""The places of the frames of each split, in rising order."""


class Sample(NamedTuple):
    """Some frames of each split, and how many there are."""

    splits: Splits
    totals: dict[str, int]

    @classmethod
    def whole(cls, splits: Splits) -> Sample:
        """All frames."""
        return cls(splits, {name: len(dataset) for name, dataset in splits.items()})

    @classmethod
    def of(cls, sets: Mapping[str, FrameSet], totals: Mapping[str, int]) -> Sample | None:
        """None where validation or test hold an element that the few training frames lack: all must then tell."""
        known = set(sets["train"].species)
        if any(set(dataset.species) - known for dataset in sets.values()):
            return None
        splits = Splits(**{name: sets.get(name) for name in ("train", "val", "test")})
        return cls(splits, {name: totals[name] for name in sets})


class Source(NamedTuple):
    """What is read from some files, and in which splits it is; None where only reading all would tell."""

    recipe: Recipe
    parts: Parts | None

    @property
    def totals(self) -> dict[str, int]:
        return {name: len(part) for name, part in (self.parts or {}).items() if len(part)}

    def thinned(self) -> Source:
        """With some of the frames."""
        assert self.parts is not None
        parts = thinned(self.parts)
        chosen = np.unique(np.concatenate(list(parts.values())))
        return Source(replace(self.recipe, chosen=chosen, edges=True), parts)

    def taken(self, processes: int | None) -> dict[str, FrameSet]:
        """Those frames, in memory and not kept on disk."""
        recipe, parts = self.thinned()
        whole = GraphDataset.from_chunks(prepared(recipe, processes), recipe.files)
        return {name: whole[np.searchsorted(recipe.chosen, part)] for name, part in parts.items() if len(part)}


def are_few(sources: Sequence[Source]) -> bool:
    """Whether they are all read as soon as some of them, or would have to be."""
    total = sum(sum(source.totals.values()) for source in sources)
    return total <= TRAIN + 2 * OTHERS or any(source.parts is None for source in sources)


def thinned(parts: Parts) -> dict[str, NDArray[np.int64]]:
    """Some frames of each split; of the training frames also those that are next to the others in the files, as these
    are the most alike where a trajectory was divided at random."""
    found = {name: _pairs(part, TRAIN if name == "train" else OTHERS) for name, part in parts.items()}
    train = parts.get("train", np.arange(0))
    others = np.concatenate([np.arange(0), *(part for name, part in found.items() if name != "train")])
    if len(train) > TRAIN and len(others):
        after = np.searchsorted(train, others).clip(1, len(train) - 1)
        before = after - 1
        nearest = np.where(train[after] - others < others - train[before], after, before)
        found["train"] = np.union1d(found["train"], train[nearest])
    return found


def _pairs(part: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Neighbours at even distances, as those of a trajectory are alike; of few frames all."""
    if len(part) <= number:
        return part
    starts = np.arange(number // 2) * (len(part) - 1) // (number // 2)
    return part[np.union1d(starts, starts + 1)]

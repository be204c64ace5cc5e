"""Assigns frames to batches, and shifts their atoms, depending only on data, seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import count
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import BatchSampler, Dataset, Sampler

from e3frame.data.pipeline.dataset import Splits
from e3frame.data.pipeline.frameset import FrameSet
from e3frame.data.pipeline.graphs import Graph, with_neighbors
from e3frame.data.sources.base import DataSpec
from e3frame.data.sources.budget import Budget
from e3frame.spec.errors import DataError

TRIALS = 8
"""Number of trial orders that determine the number of batches per epoch."""


class Place(NamedTuple):
    """Position in the training, and this process's share of each batch.

    Attributes:
        epoch, batch: first batch to load; later epochs start with their first batch.
        rank, world: this process takes every ``world``-th frame of a batch, from the ``rank``-th on.
    """

    epoch: int = 0
    batch: int = 0
    rank: int = 0
    world: int = 1


class ShuffleSampler(Sampler[int]):
    """Permutation per epoch that depends only on seed and epoch, so that a resumed run sees the same order.

    Lightning sets the epoch through :meth:`set_epoch`.
    """

    def __init__(self, size: int, seed: int, epoch: int = 0) -> None:
        self.size, self.seed, self.epoch = size, seed, epoch

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        return iter(self.order())

    def order(self, attempt: int = 0) -> list[int]:
        """Return the permutation of this epoch; each attempt gives another one."""
        number = self.seed * 1_000_003 + self.epoch + attempt * 0x9E3779B97F4A7C15
        return torch.randperm(self.size, generator=torch.Generator().manual_seed(number % 2**63)).tolist()


class Packing:
    """Batches of frames within a budget.

    torch_geometric's ``DynamicBatchSampler`` does not know its number of batches, reads every graph to get its size,
    and cannot start in the middle of an epoch.

    Args:
        dataset: frames to distribute.
        budget: budget of each batch.
        key: key of the budget in the config, for messages.

    Raises:
        DataError: a frame does not fit.
    """

    def __init__(self, dataset: FrameSet, budget: Budget, key: str) -> None:
        counts = dataset.counts("z" if budget.unit == "atoms" else "edge_index").numpy()
        if counts.max() > budget.limit:
            file, frame = dataset.where(int(np.argmax(counts > budget.limit)))
            first, largest = counts[counts > budget.limit][0], counts.max()
            problem = f"the frame has {first} {budget.unit}, but data.{key} allows {budget.limit}"
            hint = f"'data.{key}={{{budget.unit}: {largest}}}' fits the largest frame"
            raise DataError(problem, file=file, frame=frame, hint=hint)
        # Isolated atoms have no edges, but are not free.
        self.sizes, self.limit = np.maximum(counts, 1), budget.limit

    @cached_property
    def number(self) -> int:
        """Number of batches per shuffled epoch, the same for all epochs, as schedules and checkpoints require."""
        return max(len(self.packed(ShuffleSampler(len(self.sizes), 0, k).order())) for k in range(TRIALS))

    def packed(self, order: Sequence[int]) -> list[list[int]]:
        """Split an order into batches of consecutive frames, as many as fit."""
        ends = self.sizes[order].cumsum()
        batches, first = [], 0
        while first < len(order):
            last = int(np.searchsorted(ends, ends[first - 1] * (first > 0) + self.limit, side="right"))
            batches.append(list(order[first:last]))
            first = last
        return batches

    def shuffled(self, sampler: ShuffleSampler) -> list[list[int]]:
        """Return the batches of an epoch.

        An order that needs more batches than ``number`` is replaced by the next attempt; if it needs fewer, the
        batches with the most frames are halved.
        """
        packed = (self.packed(sampler.order(attempt)) for attempt in count())
        batches = next(batches for batches in packed if len(batches) <= self.number)
        while len(batches) < self.number:
            k = max(range(len(batches)), key=lambda k: len(batches[k]))
            half = len(batches[k]) // 2
            batches[k : k + 1] = [batches[k][:half], batches[k][half:]]
        return batches


def require_room(splits: Splits, spec: DataSpec) -> None:
    """Raise DataError for a frame that does not fit into the budgets of training, validation or test."""
    for name, dataset in splits.items():
        for key in ("batch_size", "eval_batch_size") if name == "train" else ("eval_batch_size",):
            if isinstance(budget := getattr(spec, key), Budget):
                Packing(dataset, budget, key)


class OwnBatches(Sampler[list[int]]):
    """One process's batches, in order. If a split has too few frames for all processes, a process without frames gets
    the first frame of the split; ``surplus`` marks that batch, which must not be counted.

    Args:
        batches: indices of the frames of each batch.
    """

    def __init__(self, batches: Sequence[list[int]]) -> None:
        self.batches = batches or [[0]]
        self.surplus: set[int] = set() if batches else {0}

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)


class SharedBatches(BatchSampler):
    """One process's share of each batch of a shuffled epoch, from ``place.batch`` on.

    Lightning finds ``sampler`` and sets its epoch. If a batch has too few frames for all processes, a process without
    frames gets the first frame of the batch; ``surplus`` marks these batches, which must not be counted.
    """

    sampler: ShuffleSampler

    def __init__(self, sampler: ShuffleSampler, size: int | Packing, place: Place) -> None:
        super().__init__(sampler, size if isinstance(size, int) else 1, drop_last=False)
        self.packing = None if isinstance(size, int) else size
        self.place = place
        self.surplus: set[int] = set()

    def __len__(self) -> int:
        return super().__len__() if self.packing is None else self.packing.number

    def __iter__(self) -> Iterator[list[int]]:
        epoch, batch, rank, world = self.place
        skipped = batch if self.sampler.epoch == epoch else 0
        self.surplus.clear()
        batches = super().__iter__() if self.packing is None else self.packing.shuffled(self.sampler)
        for index, frames in enumerate(batches):
            if index < skipped:
                continue
            part = frames[rank::world]
            if not part:
                self.surplus.add(index)
            yield part or frames[:1]


class Noise(NamedTuple):
    """Standard ``deviation`` of each coordinate, and cutoff ``r_max`` of the neighbours, in Å."""

    deviation: float
    r_max: float


class Draw(NamedTuple):
    """A frame in one epoch: the epoch, and the index of the frame."""

    epoch: int
    frame: int


class DisplacedFrames(Dataset[Graph]):
    r"""Frames with randomly shifted positions :math:`r + \sigma\,\xi`, :math:`\xi` standard normal.

    :math:`\xi` depends only on seed, epoch and frame, not on workers, processes or a resume. Edges follow the new
    positions; all else is as in ``frames``.

    Args:
        frames: frames to shift.
        noise: size of the shifts.
        seed: seed of the run.
    """

    def __init__(self, frames: FrameSet, noise: Noise, seed: int) -> None:
        self.frames, self.noise, self.seed = frames, noise, seed

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, draw: Draw) -> Graph:
        graph = self.frames[draw.frame]
        shifts = np.random.default_rng([self.seed, *draw]).normal(size=tuple(graph.pos.shape))
        graph.pos = graph.pos + self.noise.deviation * torch.from_numpy(shifts)
        # Noise may bring two atoms together, which is not an error of the data.
        return with_neighbors(graph, self.noise.r_max, closest=0.0)


class DrawnBatches(SharedBatches):
    """Batches of :class:`SharedBatches` that carry their epoch, which workers do not know."""

    def __iter__(self) -> Iterator[list[Draw]]:  # type: ignore[override]  # torch's samplers yield numbers alone
        for frames in super().__iter__():
            yield [Draw(self.sampler.epoch, index) for index in frames]

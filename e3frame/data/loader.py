"""Batches in an order that the seed and the epoch alone decide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.utils.data import BatchSampler, Sampler
from torch_geometric.loader import DataLoader

from e3frame.data.dataset import GraphDataset


class Place(NamedTuple):
    """Where a training is, and which part of each batch a process takes.

    Attributes:
        epoch, batch: the first batch that is asked for; later epochs begin with their first.
        rank, world: this process takes every ``world``-th frame of a batch, from the ``rank``-th on.
    """

    epoch: int = 0
    batch: int = 0
    rank: int = 0
    world: int = 1


class ShuffleSampler(Sampler[int]):
    """A permutation per epoch, a function of (seed, epoch), so that a resumed run goes on as it would have gone on.

    Lightning sets the epoch through :meth:`set_epoch`.
    """

    def __init__(self, size: int, seed: int, epoch: int = 0) -> None:
        self.size, self.seed, self.epoch = size, seed, epoch

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        return iter(torch.randperm(self.size, generator=generator).tolist())


class SharedBatches(BatchSampler):
    """Batches of a shuffled epoch from ``place.batch`` on, of each the part of one process.

    Lightning finds ``sampler`` and sets its epoch. A process whose part is empty, as a last batch of few frames can
    leave it, gets the batch's first frame; ``surplus`` names those batches, whose result must not count.
    """

    def __init__(self, sampler: ShuffleSampler, batch_size: int, place: Place) -> None:
        super().__init__(sampler, batch_size, drop_last=False)
        self.place = place
        self.surplus: set[int] = set()

    def __iter__(self) -> Iterator[list[int]]:
        epoch, batch, rank, world = self.place
        skipped = batch if self.sampler.epoch == epoch else 0
        self.surplus.clear()
        for index, frames in enumerate(super().__iter__()):
            if index < skipped:
                continue
            part = frames[rank::world]
            if not part:
                self.surplus.add(index)
            yield part or frames[:1]


def make_loader(
    dataset: GraphDataset, batch_size: int, *, seed: int | None = None, num_workers: int = 0, place: Place | None = None
) -> DataLoader:
    """Batches of all frames, the last one smaller; shuffled anew each epoch if ``seed`` is given, else in order.

    Args:
        dataset: the frames.
        batch_size: frames of a batch, in all processes together.
        seed: of the shuffling.
        num_workers: processes that prepare batches.
        place: where to begin, and this process's part of each batch.
    """
    place = place or Place()
    # A generator of its own, so that the numbers drawn for dropout do not depend on the loaders.
    own = {"generator": torch.Generator(), "num_workers": num_workers, "persistent_workers": num_workers > 0}
    if seed is None:
        mine = range(place.rank, len(dataset), place.world)
        return DataLoader(dataset if place.world == 1 else dataset[list(mine)], batch_size, **own)
    batches = SharedBatches(ShuffleSampler(len(dataset), seed, place.epoch), batch_size, place)
    return DataLoader(dataset, batch_sampler=batches, **own)

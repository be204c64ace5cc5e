"""Batches in an order that the seed and the epoch alone decide."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler
from torch_geometric.loader import DataLoader

from e3frame.data.dataset import GraphDataset


class ShuffleSampler(Sampler[int]):
    """A permutation per epoch, a function of (seed, epoch), so that a resumed run goes on as it would have gone on.

    The epoch advances by itself; Lightning sets it through :meth:`set_epoch`.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        self.epoch += 1
        return iter(torch.randperm(self.size, generator=generator).tolist())


def make_loader(dataset: GraphDataset, batch_size: int, *, seed: int | None = None, num_workers: int = 0) -> DataLoader:
    """Batches of all frames, the last one smaller; shuffled anew each epoch if ``seed`` is given, else in order."""
    sampler = None if seed is None else ShuffleSampler(len(dataset), seed)
    return DataLoader(dataset, batch_size, sampler=sampler, num_workers=num_workers, persistent_workers=num_workers > 0)

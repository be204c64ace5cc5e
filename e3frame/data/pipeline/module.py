"""Data loaders, and the Lightning data module that passes them to the training."""

from __future__ import annotations

import torch
from lightning import LightningDataModule
from torch_geometric.loader import DataLoader

from e3frame.data.pipeline.batches import (
    DisplacedFrames,
    DrawnBatches,
    Noise,
    OwnBatches,
    Packing,
    Place,
    SharedBatches,
    ShuffleSampler,
)
from e3frame.data.pipeline.dataset import Splits
from e3frame.data.pipeline.frameset import FrameSet
from e3frame.data.sources.base import DataSpec
from e3frame.data.sources.budget import Budget


def make_loader(
    dataset: FrameSet,
    batch_size: int | Budget,
    *,
    seed: int | None = None,
    num_workers: int = 0,
    place: Place | None = None,
    noise: Noise | None = None,
) -> DataLoader:
    """Return a loader of all frames, reshuffled each epoch if ``seed`` is given, else in order.

    The order of the frames depends only on seed and epoch.

    Args:
        dataset: frames to load.
        batch_size: frames per batch (the last one may be smaller), or a budget; if shuffled, for all processes
            together.
        seed: random seed of the shuffling.
        num_workers: processes that prepare batches.
        place: position at which to start, and this process's share of each batch.
        noise: random shifts of the atoms in shuffled frames.

    Raises:
        DataError: a frame does not fit into the budget.
    """
    place = place or Place()
    # A separate generator, so that the random numbers of dropout do not depend on the loaders.
    own = {"generator": torch.Generator(), "num_workers": num_workers, "persistent_workers": num_workers > 0}
    if seed is not None:
        size = batch_size if isinstance(batch_size, int) else Packing(dataset, batch_size, "batch_size")
        sampler = ShuffleSampler(len(dataset), seed, place.epoch)
        if noise is None:
            return DataLoader(dataset, batch_sampler=SharedBatches(sampler, size, place), **own)
        displaced = DisplacedFrames(dataset, noise, seed)
        return DataLoader(displaced, batch_sampler=DrawnBatches(sampler, size, place), **own)
    mine = range(place.rank, len(dataset), place.world)
    if isinstance(batch_size, int):
        batches = [list(mine[first : first + batch_size]) for first in range(0, len(mine), batch_size)]
    else:
        batches = Packing(dataset, batch_size, "eval_batch_size").packed(mine)
    return DataLoader(dataset, batch_sampler=OwnBatches(batches), **own)


class DataModule(LightningDataModule):
    """Loaders of the three splits: training is shuffled by ``seed`` and the epoch, the others are in order.

    Args:
        splits: frames of each split.
        spec: defines batch sizes and number of workers.
        seed: random seed of the shuffling.
        place: position at which the training starts, and this process's share of each batch.
        r_max: cutoff of the neighbours in Å, for ``spec.augment``.
    """

    def __init__(
        self, splits: Splits, spec: DataSpec, seed: int = 0, place: Place | None = None, r_max: float = 5.0
    ) -> None:
        super().__init__()
        self.splits, self.spec, self.seed, self.place = splits, spec, seed, place
        self.noise = None if spec.augment is None else Noise(spec.augment.noise, r_max)

    def train_dataloader(self) -> DataLoader:
        return make_loader(
            self.splits.train,
            self.spec.batch_size,
            seed=self.seed,
            num_workers=self.spec.num_workers,
            place=self.place,
            noise=self.noise,
        )

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        return self._in_order(self.splits.val)

    def test_dataloader(self) -> DataLoader | list[DataLoader]:
        return self._in_order(self.splits.test)

    def _in_order(self, dataset: FrameSet | None) -> DataLoader | list[DataLoader]:
        """Return a loader, or an empty list, which Lightning skips."""
        if dataset is None:
            return []
        return make_loader(dataset, self.spec.eval_batch_size, num_workers=self.spec.num_workers, place=self.place)

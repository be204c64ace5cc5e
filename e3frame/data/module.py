"""The Lightning data module."""

from __future__ import annotations

from lightning import LightningDataModule
from torch_geometric.loader import DataLoader

from e3frame.data.base import DataSpec
from e3frame.data.dataset import Splits
from e3frame.data.frameset import FrameSet
from e3frame.data.loader import make_loader
from e3frame.data.sampling import Place


class DataModule(LightningDataModule):
    """Loaders of the three splits: training is shuffled by ``seed`` and the epoch, the others are in order.

    Args:
        splits: what ``spec.load`` returned.
        spec: gives the batch sizes and the workers.
        seed: of the shuffling.
        place: where the training begins, and this process's part of each batch.
    """

    def __init__(self, splits: Splits, spec: DataSpec, seed: int = 0, place: Place | None = None) -> None:
        super().__init__()
        self.splits, self.spec, self.seed, self.place = splits, spec, seed, place

    def train_dataloader(self) -> DataLoader:
        spec = self.spec
        return make_loader(
            self.splits.train, spec.batch_size, seed=self.seed, num_workers=spec.num_workers, place=self.place
        )

    def val_dataloader(self) -> DataLoader | list:
        return self._in_order(self.splits.val)

    def test_dataloader(self) -> DataLoader | list:
        return self._in_order(self.splits.test)

    def _in_order(self, dataset: FrameSet | None) -> DataLoader | list:
        """Lightning takes an empty list for "nothing to do"."""
        if dataset is None:
            return []
        return make_loader(dataset, self.spec.eval_batch_size, num_workers=self.spec.num_workers, place=self.place)

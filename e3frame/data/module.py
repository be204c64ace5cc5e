"""The Lightning data module."""

from __future__ import annotations

from lightning import LightningDataModule
from torch_geometric.loader import DataLoader

from e3frame.data.base import DataSpec
from e3frame.data.dataset import GraphDataset, Splits
from e3frame.data.loader import make_loader


class DataModule(LightningDataModule):
    """Loaders of the three splits: training is shuffled by ``seed`` and the epoch, the others are in order.

    Args:
        splits: what ``spec.load`` returned.
        spec: gives the batch sizes and the workers.
        seed: of the shuffling.
    """

    def __init__(self, splits: Splits, spec: DataSpec, seed: int = 0) -> None:
        super().__init__()
        self.splits, self.spec, self.seed = splits, spec, seed

    def train_dataloader(self) -> DataLoader:
        return make_loader(self.splits.train, self.spec.batch_size, seed=self.seed, num_workers=self.spec.num_workers)

    def val_dataloader(self) -> DataLoader | list:
        return self._in_order(self.splits.val)

    def test_dataloader(self) -> DataLoader | list:
        return self._in_order(self.splits.test)

    def _in_order(self, dataset: GraphDataset | None) -> DataLoader | list:
        """Lightning takes an empty list for "nothing to do"."""
        if dataset is None:
            return []
        return make_loader(dataset, self.spec.eval_batch_size, num_workers=self.spec.num_workers)

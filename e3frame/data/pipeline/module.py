"""The Lightning data module."""

from __future__ import annotations

from lightning import LightningDataModule
from torch_geometric.loader import DataLoader

from e3frame.data.pipeline.dataset import Splits
from e3frame.data.pipeline.displaced import Noise
from e3frame.data.pipeline.frameset import FrameSet
from e3frame.data.pipeline.loader import make_loader
from e3frame.data.pipeline.sampling import Place
from e3frame.data.sources.base import DataSpec


class DataModule(LightningDataModule):
    """Loaders of the three splits: training is shuffled by ``seed`` and the epoch, the others are in order.

    Args:
        splits: what ``spec.load`` returned.
        spec: gives the batch sizes and the workers.
        seed: of the shuffling.
        place: where the training begins, and this process's part of each batch.
        r_max: cutoff in Å of the neighbours that ``spec.augment`` finds.
    """

    def __init__(
        self, splits: Splits, spec: DataSpec, seed: int = 0, place: Place | None = None, r_max: float = 5.0
    ) -> None:
        super().__init__()
        self.splits, self.spec, self.seed, self.place = splits, spec, seed, place
        self.noise = None if spec.augment is None else Noise(spec.augment.noise, r_max)

    def train_dataloader(self) -> DataLoader:
        spec = self.spec
        own = {"seed": self.seed, "num_workers": spec.num_workers, "place": self.place, "noise": self.noise}
        return make_loader(self.splits.train, spec.batch_size, **own)

    def val_dataloader(self) -> DataLoader | list:
        return self._in_order(self.splits.val)

    def test_dataloader(self) -> DataLoader | list:
        return self._in_order(self.splits.test)

    def _in_order(self, dataset: FrameSet | None) -> DataLoader | list:
        """Lightning takes an empty list for "nothing to do"."""
        if dataset is None:
            return []
        return make_loader(dataset, self.spec.eval_batch_size, num_workers=self.spec.num_workers, place=self.place)

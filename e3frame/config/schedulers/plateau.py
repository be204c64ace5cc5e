"""``plateau``: lower when the validation no longer improves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from e3frame.config.schedulers.base import SchedulerSpec
from e3frame.config.trainer import TrainerSpec
from e3frame.spec.errors import SpecError

if TYPE_CHECKING:
    from torch.optim import Optimizer


class PlateauSpec(SchedulerSpec):
    """Lower the learning rate when the validation error stops improving."""

    kind: Literal["plateau"] = "plateau"
    monitor: str = "val_loss"
    """Metric that should fall: val_loss, or an error such as val_forces_mae."""
    factor: float = Field(default=0.5, gt=0, lt=1)
    """Factor by which the learning rate is multiplied."""
    patience: int = Field(default=10, ge=0)
    """Validations without improvement to wait for."""
    threshold: float = Field(default=1e-4, ge=0, lt=1)
    """Smallest relative improvement that counts."""
    min_lr: float = Field(default=0.0, ge=0)
    """Lowest learning rate."""

    @property
    def monitored(self) -> str:
        return self.monitor

    @property
    def lowest_lr(self) -> float:
        return self.min_lr

    def idle(self, trainer: TrainerSpec) -> Iterator[SpecError]:
        every, epochs = trainer.check_val_every_n_epoch, trainer.max_epochs
        if epochs is not None and (self.patience + 1) * every >= epochs:
            problem = f"the run ends after {epochs} epochs, before the learning rate could fall"
            yield SpecError(("patience",), problem, "give less, raise trainer.max_epochs, or write scheduler=constant")

    def build(self, optimizer: Optimizer, progress: Callable[[], float]) -> list[dict[str, Any]]:
        from torch.optim.lr_scheduler import ReduceLROnPlateau

        plateau = ReduceLROnPlateau(
            optimizer, factor=self.factor, patience=self.patience, threshold=self.threshold, min_lr=self.min_lr
        )
        return [{"scheduler": plateau, "interval": "epoch", "monitor": self.monitor, "strict": False}]

"""Learning rate schedules, as specs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from e3frame.config.trainer import TrainerSpec
from e3frame.spec.errors import SpecError
from e3frame.spec.registry import Kinded

if TYPE_CHECKING:
    from torch.optim import Optimizer


class SchedulerSpec(Kinded, family="scheduler"):
    """How the learning rate changes during a run."""

    @property
    def lowers(self) -> bool:
        """Whether the learning rate falls below that of the optimizer, a warmup at the start aside."""
        return True

    @property
    def monitored(self) -> str | None:
        """The metric that decides on the learning rate, which the key ``monitor`` gives; None if there is none."""
        return None

    @property
    def lowest_lr(self) -> float | None:
        """The lowest learning rate, which the key ``min_lr`` gives; None if it is not given as such."""
        return None

    def build(self, optimizer: Optimizer, progress: Callable[[], float]) -> list[dict[str, Any]]:
        """Schedules in Lightning's form.

        Args:
            optimizer: whose learning rate is changed.
            progress: the part of the run that is done, from 0 to 1.
        """
        raise NotImplementedError(f"{type(self).__name__}.build")

    def idle(self, trainer: TrainerSpec) -> Iterator[SpecError]:
        """Options that do nothing in a run of such a length, with their paths from here."""
        yield from ()


class ConstantSpec(SchedulerSpec):
    """The learning rate stays what it is."""

    kind: Literal["constant"] = "constant"
    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the learning rate rises linearly from nothing at the start."""

    @property
    def lowers(self) -> bool:
        return False

    def build(self, optimizer: Optimizer, progress: Callable[[], float]) -> list[dict[str, Any]]:
        return [_each_step(optimizer, lambda step: _warmed(step, self.warmup_steps))] if self.warmup_steps else []


class CosineSpec(SchedulerSpec):
    """Half a cosine from the learning rate to ``min_lr`` over the whole run (Loshchilov and Hutter 2017)."""

    kind: Literal["cosine"] = "cosine"
    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the learning rate rises linearly from nothing at the start."""
    min_lr: float = Field(default=0.0, ge=0)
    """Learning rate at the end."""

    @property
    def lowest_lr(self) -> float:
        return self.min_lr

    def build(self, optimizer: Optimizer, progress: Callable[[], float]) -> list[dict[str, Any]]:
        low = self.min_lr / optimizer.param_groups[0]["lr"]

        def factor(step: int) -> float:
            return _warmed(step, self.warmup_steps) * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress())))

        return [_each_step(optimizer, factor)]


class OneCycleSpec(SchedulerSpec):
    """Up to the learning rate and down again over the whole run, both along half a cosine (Smith and Topin 2018,
    arXiv 1708.07120); the momentum stays."""

    kind: Literal["one_cycle"] = "one_cycle"
    rise: float = Field(default=0.3, gt=0, lt=1)
    """Part of the run over which the learning rate rises."""
    start_factor: float = Field(default=0.04, gt=0, le=1)
    """Of the learning rate at the start."""
    end_factor: float = Field(default=1e-4, ge=0, le=1)
    """Of the learning rate at the end."""

    def build(self, optimizer: Optimizer, progress: Callable[[], float]) -> list[dict[str, Any]]:
        def factor(step: int) -> float:
            done = progress()
            rising = done < self.rise
            low = self.start_factor if rising else self.end_factor
            part = done / self.rise if rising else (1 - done) / (1 - self.rise)
            return low + (1 - low) * 0.5 * (1 - math.cos(math.pi * part))

        return [_each_step(optimizer, factor)]


class PlateauSpec(SchedulerSpec):
    """The learning rate falls whenever the validation gets no better."""

    kind: Literal["plateau"] = "plateau"
    monitor: str = "val_loss"
    """What should fall: val_loss, or an error such as val_forces_mae."""
    factor: float = Field(default=0.5, gt=0, lt=1)
    """What the learning rate is multiplied by."""
    patience: int = Field(default=10, ge=0)
    """Validations without improvement to wait for."""
    threshold: float = Field(default=1e-4, ge=0, lt=1)
    """Relative improvement that counts as one."""
    min_lr: float = Field(default=0.0, ge=0)
    """Where it stops falling."""

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


def _warmed(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / (steps + 1))


def _each_step(optimizer: Optimizer, factor: Callable[[int], float]) -> dict[str, Any]:
    from torch.optim.lr_scheduler import LambdaLR

    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}

"""The base of all schedules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from e3frame.config.trainer import TrainerSpec
from e3frame.spec.errors import SpecError
from e3frame.spec.registry import Kinded

if TYPE_CHECKING:
    from torch.optim import Optimizer


class SchedulerSpec(Kinded, family="scheduler"):
    """A change of the learning rate during a run."""

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
        """Build schedules in Lightning's form.

        Args:
            optimizer: optimizer whose learning rate is changed.
            progress: function that returns the finished fraction of the run, from 0 to 1.
        """
        raise NotImplementedError(f"{type(self).__name__}.build")

    def idle(self, trainer: TrainerSpec) -> Iterator[SpecError]:
        """Yield the options that have no effect in a run of this length, with paths from this spec."""
        yield from ()


def warmed(step: int, steps: int) -> float:
    """Return the factor of the learning rate in a linear warmup over ``steps`` steps."""
    return min(1.0, (step + 1) / (steps + 1))


def each_step(optimizer: Optimizer, factor: Callable[[int], float]) -> dict[str, Any]:
    """Return a schedule in Lightning's form that multiplies the learning rate by ``factor(step)``."""
    from torch.optim.lr_scheduler import LambdaLR

    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}

"""``huber``: squared for small differences, linear for large ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from e3frame.config.losses.base import LossSpec

if TYPE_CHECKING:
    from torch import Tensor


class Huber(LossSpec):
    """``d²/2`` up to ``delta``, ``delta (|d| - delta/2)`` beyond (Huber 1964)."""

    kind: Literal["huber"] = "huber"
    delta: float = Field(default=0.01, gt=0)
    """Difference at which the loss changes from squared to linear, in the unit of the target."""

    def each(self, difference: Tensor) -> Tensor:
        from torch.nn.functional import huber_loss

        return huber_loss(
            difference, difference.new_zeros(()).expand_as(difference), reduction="none", delta=self.delta
        )

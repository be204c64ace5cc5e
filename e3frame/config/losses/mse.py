"""``mse``: the mean squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from e3frame.config.losses.base import LossSpec

if TYPE_CHECKING:
    from torch import Tensor


class SquaredError(LossSpec):
    """Mean squared error: ``d²`` of the difference d."""

    kind: Literal["mse"] = "mse"

    def each(self, difference: Tensor) -> Tensor:
        return difference.square()

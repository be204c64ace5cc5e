"""``mae``: the mean absolute error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from e3frame.config.losses.base import LossSpec

if TYPE_CHECKING:
    from torch import Tensor


class AbsoluteError(LossSpec):
    """Mean absolute error: ``|d|`` of the difference d."""

    kind: Literal["mae"] = "mae"

    def each(self, difference: Tensor) -> Tensor:
        return difference.abs()

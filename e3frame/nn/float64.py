"""Buffers that stay float64 when their module is cast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

__all__ = ["KeepsFloat64"]


class KeepsFloat64(nn.Module):
    """A module whose own float64 buffers follow it to another device, but not to another type (``.float()``)."""

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Self:
        exact = {name: own for name, own in self.named_buffers(recurse=False) if own.dtype == torch.float64}
        super()._apply(fn, *args, **kwargs)  # type: ignore[no-untyped-call]  # torch does not annotate it
        for name, before in exact.items():
            after = getattr(self, name)
            if after.dtype != torch.float64:
                setattr(self, name, before.to(after.device))
        return self

"""Buffers that stay exact when their module changes dtype."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from e3frame.kernels.constants import Device, floating_dtype


class ExactBuffers(nn.Module, ABC):
    """A module whose buffers are constants, recomputed in float64 and rounded once whenever it is cast or moved.

    A plain buffer would stay at the precision of an earlier ``.float()``. The constants are buffers because e3nn's
    ``state_dict`` contains them.
    """

    @abstractmethod
    def exact_buffers(self) -> dict[str, Tensor]:
        """Return the constants by name, in float64."""

    def _computed(self) -> dict[str, Tensor]:
        with torch.device("cpu"):  # the meta device has no numbers, and some devices no float64
            return self.exact_buffers()

    def _own_buffers(self, dtype: torch.dtype | None, device: Device) -> None:
        dtype = floating_dtype(dtype)
        device = torch.get_default_device() if device is None else device
        for name, exact in self._computed().items():
            self.register_buffer(name, exact.to(dtype=dtype, device=device))

    def _restore(self) -> None:
        for name, exact in self._computed().items():
            own = getattr(self, name)
            setattr(self, name, exact.to(dtype=own.dtype, device=own.device))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ExactBuffers:
        before = [(own.dtype, own.device) for own in self.buffers(recurse=False)]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch does not annotate it
        if before != [(own.dtype, own.device) for own in self.buffers(recurse=False)]:
            self._restore()
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Check the loaded constants against the computed ones, then keep the computed ones, which are exact."""
        super()._load_from_state_dict(state_dict, prefix, *rest)
        errors = rest[-1]
        for name, exact in self._computed().items():
            given = state_dict.get(prefix + name)
            if given is None or given.shape != exact.shape or given.is_meta:
                continue
            if not torch.allclose(given.to(exact), exact, rtol=1e-2, atol=1e-2 * exact.abs().max().item()):
                errors.append(f"{prefix}{name} differs from that of {self!r}: it was saved with other options")
        self._restore()

"""Moments of functions under the normal distribution, to normalize activations."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from itertools import chain
from types import BuiltinFunctionType, FunctionType

import torch
from torch import Tensor, nn

from e3frame.kernels.constants import floating_dtype

__all__ = ["moment", "normalize2mom"]

_Function = Callable[[Tensor], Tensor]


@cache
def _normal_sample() -> Tensor:
    """Return the million normal numbers that e3nn averages over."""
    return torch.randn(1_000_000, generator=torch.Generator("cpu").manual_seed(0), dtype=torch.float64, device="cpu")


def moment(f: _Function, n: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Tensor:
    """Return ⟨f(z)ⁿ⟩ for z ~ N(0, 1), as the mean over a fixed sample of a million.

    The sample is that of e3nn (normal numbers of seed 0, drawn on the CPU). Its moments deviate from the exact ones by
    about 1e-3, but weights trained in e3nn need these constants.

    Args:
        f: elementwise function.
        n: order.
        dtype, device: of the sample that f receives, by default the default ones.

    Returns:
        scalar tensor.

    >>> round(moment(torch.relu, 2).item(), 3)
    0.499
    """
    dtype = floating_dtype(dtype)
    device = torch.get_default_device() if device is None else device
    return f(_normal_sample().to(dtype=dtype, device=device)).pow(n).mean()


class normalize2mom(nn.Module):  # e3nn's name
    """c f(x) with c = ⟨f(z)²⟩^(-1/2) for z ~ N(0, 1): unit second moment for standard normal inputs; see `moment`.

    Args:
        f: elementwise function that accepts float64.
        dtype: has no effect, as in e3nn; c is computed in float64.
        device: device on which f runs; by default that of its parameters, if it is a module.

    Raises:
        ValueError: the second moment of f is not finite and positive.
    """

    def __init__(
        self, f: _Function, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> None:
        super().__init__()
        if device is None and isinstance(f, nn.Module):
            device = next((tensor.device for tensor in chain(f.parameters(), f.buffers())), None)
        second = _second_moment(f, device)
        if not 0.0 < second < float("inf"):
            raise ValueError(f"the second moment of {f} must be finite and positive, got {second}")
        self.f = f
        self.cst = second**-0.5

    @property
    def factor(self) -> float:
        """Factor of f: c, or 1 if they differ by less than 1e-4, as in e3nn."""
        return 1.0 if abs(self.cst - 1) < 1e-4 else self.cst

    def forward(self, x: Tensor) -> Tensor:
        """Return c f(x), of the shape of ``x``."""
        return self.f(x) if self.factor == 1.0 else self.f(x) * self.factor

    def extra_repr(self) -> str:
        return f"{getattr(self.f, '__name__', type(self.f).__name__)}, cst={self.cst:.6g}"


def _second_moment(f: _Function, device: torch.device | str | None) -> float:
    # Only plain functions are cached: the state of modules, methods and closures may change.
    plain = isinstance(f, BuiltinFunctionType) or (isinstance(f, FunctionType) and not f.__closure__)
    return (_known_second_moment if plain else _compute_second_moment)(f, device)


def _compute_second_moment(f: _Function, device: torch.device | str | None) -> float:
    with torch.no_grad():
        return moment(f, 2, torch.float64, device).item()


_known_second_moment = lru_cache(maxsize=64)(_compute_second_moment)

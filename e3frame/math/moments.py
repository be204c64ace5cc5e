"""Moments of a function under the normal distribution, by which activations are normalised."""

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
    """The million normal numbers that e3nn averages over."""
    return torch.randn(1_000_000, generator=torch.Generator("cpu").manual_seed(0), dtype=torch.float64, device="cpu")


def moment(f: _Function, n: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Tensor:
    """⟨f(z)ⁿ⟩ for z ~ N(0, 1), as the mean over one fixed sample of a million.

    The sample is e3nn's (normal numbers of seed 0, drawn on the CPU). Its moments miss those of the distribution by
    some 1e-3. They are the constants that e3nn's trained weights were fitted with, and those must carry over.

    Args:
        f: function that acts on each element.
        n: order.
        dtype, device: of the sample when f sees it; the defaults if None.

    Returns:
        scalar tensor.

    >>> round(moment(torch.relu, 2).item(), 3)
    0.499
    """
    dtype = floating_dtype(dtype)
    device = torch.get_default_device() if device is None else device
    return f(_normal_sample().to(dtype=dtype, device=device)).pow(n).mean()


class normalize2mom(nn.Module):  # e3nn's name
    """c f(x) with c = ⟨f(z)²⟩^(-1/2) for z ~ N(0, 1): unit second moment for a standard normal input; see `moment`.

    Args:
        f: function that acts on each element, able to take float64.
        dtype: without effect, as in e3nn; the constant is computed in float64.
        device: where f computes; by default where its parameters are, if it is a module.

    Raises:
        ValueError: f has no finite, positive second moment.
    """

    def __init__(
        self, f: _Function, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> None:
        super().__init__()
        if device is None and isinstance(f, nn.Module):
            device = next((tensor.device for tensor in chain(f.parameters(), f.buffers())), None)
        second = _second_moment(f, device)
        if not 0.0 < second < float("inf"):
            raise ValueError(f"a function of finite, positive second moment is required, got {second} for {f}")
        self.f = f
        self.cst = second**-0.5

    @property
    def factor(self) -> float:
        """What f is multiplied by: c, or 1 if that is nearly so, as in e3nn."""
        return 1.0 if abs(self.cst - 1) < 1e-4 else self.cst

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x."""
        return self.f(x) if self.factor == 1.0 else self.f(x) * self.factor

    def extra_repr(self) -> str:
        return f"{getattr(self.f, '__name__', type(self.f).__name__)}, cst={self.cst:.6g}"


def _second_moment(f: _Function, device: torch.device | str | None) -> float:
    # Modules, methods and closures hold state that may change; a plain function gives the same moment each time.
    plain = isinstance(f, BuiltinFunctionType) or (isinstance(f, FunctionType) and not f.__closure__)
    return (_known_second_moment if plain else _compute_second_moment)(f, device)


def _compute_second_moment(f: _Function, device: torch.device | str | None) -> float:
    with torch.no_grad():
        return moment(f, 2, torch.float64, device).item()


_known_second_moment = lru_cache(maxsize=64)(_compute_second_moment)

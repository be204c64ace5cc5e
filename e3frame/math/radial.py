"""Basis functions of one variable, whose derivatives are finite everywhere."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from e3frame.algebra.errors import AssertedError
from e3frame.kernels.constants import as_floating
from e3frame.kernels.functions import bessel_basis, sinc

__all__ = ["bessel", "sinc", "soft_one_hot_linspace", "soft_unit_step"]

_BASES = ("gaussian", "cosine", "smooth_finite", "fourier", "bessel")


def soft_unit_step(x: Tensor) -> Tensor:
    """Return θ(x) exp(-1/x), a smooth unit step, elementwise.

    >>> soft_unit_step(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([0.0000, 0.0000, 0.3679])
    """
    x = as_floating(x)
    # Where exp(-1/x) underflows, the powers of 1/x in its derivatives can overflow. Such x count as zero.
    limits = torch.finfo(x.dtype)
    positive = x > -1.0 / (math.log(limits.tiny) + math.log(limits.eps))
    return torch.where(positive, torch.exp(-1.0 / torch.where(positive, x, 1.0)), 0.0)


def bessel(x: Tensor, n: int, x_max: float = 1.0) -> Tensor:
    """Return the Bessel basis B_k(x) = √(2/c) sin(kπx/c)/x for k = 1 ... n and c = x_max: ∫₀^c x² B_j B_k dx = δ_jk.

    Source: Gasteiger, Groß & Günnemann 2020 (https://arxiv.org/abs/2003.03123), equation 7.

    Args:
        x: (...).
        n: number of functions.
        x_max: c.

    Returns:
        (..., n).

    Raises:
        AssertedError: ``n`` is not an integer.
    """
    if not isinstance(n, int):
        raise AssertedError(f"the number n of Bessel functions must be an integer, got {n!r}")
    x = as_floating(x)
    return bessel_basis(x, torch.arange(1, n + 1, dtype=x.dtype, device=x.device), x_max)


def soft_one_hot_linspace(
    x: Tensor, start: float, end: float, number: int, basis: str | None = None, cutoff: bool | None = None
) -> Tensor:
    """Return N functions y_k(x) that cover an interval, with ⟨Σ_k y_k(x)²⟩ ≈ 1 inside it except for ``bessel``.

    With d_k = (x - c_k)/s, where the N centres c_k have spacing s:

    - ``gaussian``: exp(-d²)/1.12, which never vanishes;
    - ``cosine``: cos(πd/2) for \\|d\\| < 1;
    - ``smooth_finite``: 1.14136 e² exp(-1/(1 + d)) exp(-1/(1 - d)) for \\|d\\| < 1, smooth everywhere;

    and with t = (x - start)/(end - start), b = end - start:

    - ``fourier``: cos(π(k - 1)t)/√(1/4 + N/2), or sin(πkt)/√(1/4 + N/2) for 0 < t < 1 with cutoff;
    - ``bessel``: √(2/b) sin(πkt)/(bt), for 0 < t < 1 with cutoff.

    Args:
        x: (...).
        start, end: the interval.
        number: N.
        basis: one of the five names.
        cutoff: whether the functions vanish outside the interval. If so, all centres are inside it; if not, the first
            and last centres are its ends.

    Returns:
        (..., N).

    Raises:
        ValueError: an unknown basis, ``cutoff`` neither True nor False, or too few centres to have a spacing.
    """
    if cutoff not in (True, False):
        raise ValueError(f"cutoff must be True or False, got {cutoff!r}")
    if basis not in _BASES:
        raise ValueError(f"basis must be one of {', '.join(_BASES)}; got {basis!r}")
    x = as_floating(x)
    if basis in ("fourier", "bessel"):
        return _waves(x.unsqueeze(-1) - start, end - start, number, basis, cutoff)
    if number < 1 or (number < 2 and not cutoff):
        raise ValueError(f"basis {basis!r} with cutoff={cutoff} needs number >= {1 if cutoff else 2}, got {number}")
    step = (end - start) / (number + 1 if cutoff else number - 1)
    first = start + step if cutoff else start
    centre = first + step * torch.arange(number, dtype=x.dtype, device=x.device)
    d = (x.unsqueeze(-1) - centre) / step
    if basis == "gaussian":
        return torch.exp(-d.square()) / 1.12
    if basis == "cosine":
        return torch.where(d.abs() < 1.0, torch.cos(math.pi / 2 * d), 0.0)
    return 1.14136 * math.exp(2.0) * soft_unit_step(1.0 + d) * soft_unit_step(1.0 - d)


def _waves(x: Tensor, length: float, number: int, basis: str, cutoff: bool) -> Tensor:
    """Return the bases without centres, for x (..., 1) measured from the start of the interval."""
    first = 0 if basis == "fourier" and not cutoff else 1
    frequency = torch.arange(first, first + number, dtype=x.dtype, device=x.device) * (math.pi / length)
    if basis == "bessel":
        waves = math.sqrt(2.0 / length) * frequency * sinc(frequency * x)
    else:
        waves = (torch.sin if cutoff else torch.cos)(frequency * x) / math.sqrt(0.25 + number / 2)
    return torch.where((x > 0.0) & (x < length), waves, 0.0) if cutoff else waves

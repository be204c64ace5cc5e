"""What is a rotation, and what is none. Values are looked at where there are any: not by compilers and transforms."""

from __future__ import annotations

import torch
from torch import Tensor

from e3frame.algebra.errors import AssertedError
from e3frame.kernels.constants import as_floating
from e3frame.kernels.values import has_values


def require_rotations(R: Tensor, reflections: bool = False) -> Tensor:
    """Matrices ``(..., 3, 3)`` in a floating type, if they are rotations, or reflections where these are allowed.

    What float32 makes of a rotation in some hundred products passes, and so do four decimals of a text.

    Raises:
        ValueError: another shape, or matrices that are not.
    """
    if R.shape[-2:] != (3, 3):
        raise AssertedError(f"expected matrices of shape (..., 3, 3), got {tuple(R.shape)}")
    R = as_floating(R)
    if not has_values(R) or R.numel() == 0:
        return R
    what = "rotations or reflections" if reflections else "rotation matrices"
    exact = R.detach().to(torch.promote_types(R.dtype, torch.float32))
    off = float((exact @ exact.mT - torch.eye(3).to(exact)).abs().max())
    if not off < max(2e-4, 16 * torch.finfo(R.dtype).eps):
        raise AssertedError(f"expected {what}, which are orthogonal matrices; R R^T is {off:.2g} off the identity")
    if not reflections and (exact.det() < 0).any():
        raise AssertedError("expected rotation matrices, whose determinant is 1; got a reflection, of determinant -1")
    return R


def require_directions(name: str, x: Tensor, needed: Tensor | None = None) -> Tensor:
    """Vectors ``(..., n)``, if they have a direction.

    Args:
        name: what they are, for the message.
        needed: (...), where they must have one; by default everywhere.

    Raises:
        ValueError: a vector that is zero or not finite.
    """
    if not has_values(x):
        return x
    size = x.detach().abs().amax(-1)
    if not size.isfinite().all():
        raise AssertedError(f"the {name} of a rotation must be finite, got {_first(x, ~size.isfinite())}")
    zero = size == 0 if needed is None else (size == 0) & needed.detach()
    if zero.any():
        raise AssertedError(f"the {name} of a rotation must have a direction, got {_first(x, zero)}")
    return x


def require_counts(k: Tensor) -> Tensor:
    """Numbers of inversions, if they are integers.

    Raises:
        ValueError: they are not.
    """
    if has_values(k) and k.is_floating_point() and (k.detach() != k.detach().round()).any():
        raise AssertedError(f"the number of inversions k must be an integer, got {_first(k, k != k.round())}")
    return k


def _first(x: Tensor, where: Tensor) -> object:
    """The first entry of ``x``, along the axes of ``where``, for which that is true."""
    return x.detach()[where][0].tolist()

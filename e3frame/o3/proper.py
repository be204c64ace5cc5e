"""Checks of rotations. They are skipped where tensors have no values: in compilers and function transforms."""

from __future__ import annotations

import torch
from torch import Tensor

from e3frame.algebra.errors import AssertedError
from e3frame.kernels.constants import as_floating
from e3frame.kernels.values import has_values


def require_rotations(R: Tensor, reflections: bool = False) -> Tensor:
    """Check that matrices are rotations, and return them in a floating dtype.

    The tolerance admits the rounding of about a hundred float32 products, and matrices written with four decimals.

    Args:
        R: (..., 3, 3).
        reflections: also allow matrices of determinant -1.

    Raises:
        ValueError: another shape, or matrices that are not rotations.
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
        raise AssertedError(
            f"expected {what}, which are orthogonal matrices; R R^T differs from the identity by {off:.2g}"
        )
    if not reflections and (exact.det() < 0).any():
        raise AssertedError("expected rotation matrices, of determinant 1; got a reflection, of determinant -1")
    return R


def require_directions(name: str, x: Tensor, needed: Tensor | None = None) -> Tensor:
    """Check that vectors have a direction, and return them.

    Args:
        name: name of the vectors in messages.
        x: (..., n).
        needed: (...), mask of the vectors that need a direction; by default all.

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
        raise AssertedError(f"the {name} of a rotation must not be zero, got {_first(x, zero)}")
    return x


def require_counts(k: Tensor) -> Tensor:
    """Check that numbers of inversions are integers, and return them.

    Raises:
        ValueError: a number that is not an integer.
    """
    if has_values(k) and k.is_floating_point() and (k.detach() != k.detach().round()).any():
        raise AssertedError(f"the number of inversions k must be an integer, got {_first(k, k != k.round())}")
    return k


def _first(x: Tensor, where: Tensor) -> object:
    """First entry of ``x`` where the mask ``where`` is true."""
    return x.detach()[where][0].tolist()

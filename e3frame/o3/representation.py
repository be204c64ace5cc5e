"""Matrices of irreps and random features: what the methods of `Irrep` and `Irreps` compute in torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from e3frame.algebra.irreps import Irreps
from e3frame.o3.proper import require_counts, require_rotations
from e3frame.o3.rotation import axis_angle_to_matrix, quaternion_to_matrix
from e3frame.o3.wigner import rotation_matrices, wigner_D


def D_from_angles(irreps: Irreps, alpha: Tensor, beta: Tensor, gamma: Tensor, k: Tensor | None) -> Tensor:
    """Return the block-diagonal matrix (..., dim, dim) of Euler angles and ``k`` inversions; see `Irreps`."""
    blocks = {}
    for ir in {ir for _, ir in irreps}:
        D = wigner_D(ir.l, alpha, beta, gamma)
        blocks[ir] = D if k is None else D * (ir.p ** require_counts(k)[..., None, None])
    like = alpha + beta + gamma if k is None else alpha + beta + gamma + k
    return _direct_sum([blocks[ir] for mul, ir in irreps for _ in range(mul)], like=like[..., None, None])


def D_from_matrix(irreps: Irreps, R: Tensor) -> Tensor:
    """Return the block-diagonal matrix (..., dim, dim) of rotations or reflections R (..., 3, 3); see `Irreps`."""
    R = require_rotations(R, reflections=True)
    x, y, z = R.unbind(-2)
    sign = (torch.linalg.cross(x, y) * z).sum(-1).sign()[..., None, None]  # of the determinant, in any dtype
    matrices = rotation_matrices(max([0, *(ir.l for mul, ir in irreps if mul > 0)]), R * sign)
    blocks = {ir: matrices[ir.l] if ir.p == 1 else matrices[ir.l] * sign for mul, ir in irreps if mul > 0}
    return _direct_sum([blocks[ir] for mul, ir in irreps for _ in range(mul)], like=R)


def D_from_quaternion(irreps: Irreps, q: Tensor, k: Tensor | None) -> Tensor:
    """Return the block-diagonal matrix (..., dim, dim) of quaternions and ``k`` inversions; see `Irreps`."""
    R = quaternion_to_matrix(q)
    return D_from_matrix(irreps, R if k is None else R * (-1) ** require_counts(k)[..., None, None])


def D_from_axis_angle(irreps: Irreps, axis: Tensor, angle: Tensor) -> Tensor:
    """Return the block-diagonal matrix (..., dim, dim) of rotations about axes; see `Irreps`."""
    return D_from_matrix(irreps, axis_angle_to_matrix(axis, angle))


def _direct_sum(blocks: list[Tensor], like: Tensor) -> Tensor:
    """Block-diagonal matrix of ``blocks`` (..., n, n); an empty sum takes its leading shape from ``like``."""
    size = sum(block.shape[-1] for block in blocks)
    out = (blocks[0] if blocks else like).new_zeros(*like.shape[:-2], size, size)
    start = 0
    for block in blocks:
        stop = start + block.shape[-1]
        out[..., start:stop, start:stop] = block
        start = stop
    return out


def randn(irreps: Irreps, size: tuple[int, ...], normalization: str, requires_grad: bool, **options: Any) -> Tensor:
    """Return normally distributed features; see `Irreps.randn`.

    Args:
        options: dtype, device and generator.
    """
    if size.count(-1) != 1:
        raise ValueError(f"randn needs exactly one -1 in its size, which stands for the irreps; got {size}")
    if normalization not in ("component", "norm"):
        raise ValueError(f"normalization must be 'component' or 'norm', got {normalization!r}")
    axis = size.index(-1)
    x = torch.randn((*size[:axis], irreps.dim, *size[axis + 1 :]), **options)
    if normalization == "norm":
        for (mul, ir), where in zip(irreps, irreps.slices(), strict=True):
            chunk = x.narrow(axis, where.start, mul * ir.dim).unflatten(axis, (mul, ir.dim))
            chunk.div_(chunk.norm(dim=axis + 1, keepdim=True))
    return x.requires_grad_() if requires_grad else x

"""Wigner D matrices, 3j symbols and generators of SO(3) in torch."""

# ruff: noqa: E741 - l is the degree, here as in the literature

from __future__ import annotations

import torch
from torch import Tensor

from e3frame.algebra import wigner
from e3frame.kernels.constants import Device, as_floating, as_tensor, constant
from e3frame.o3.proper import require_rotations

_wigner_3j = constant(wigner.wigner_3j)
_rotation_y_to_x = constant(wigner.rotation_y_to_x)


def wigner_3j(l1: int, l2: int, l3: int, dtype: torch.dtype | None = None, device: Device = None) -> Tensor:
    """Return the invariant tensor C of unit norm, with ``C_ijk = Σ D_il D_jm D_kn C_lmn`` for every rotation.

    Args:
        l1, l2, l3: degrees.
        dtype, device: of the tensor, by default the default ones.

    Returns:
        (2 l1 + 1, 2 l2 + 1, 2 l3 + 1), a new copy.

    Raises:
        ValueError: the degrees break the triangle rule ``|l1 - l2| <= l3 <= l1 + l2``.
    """
    return _wigner_3j(l1, l2, l3, dtype=dtype, device=device)


def so3_generators(l: int, dtype: torch.dtype | None = None, device: Device = None) -> Tensor:
    """Return the real generators of SO(3) about x, y and z, (3, 2l + 1, 2l + 1)."""
    return as_tensor(wigner.so3_generators(l), dtype, device)


def su2_generators(j: float, dtype: torch.dtype | None = None, device: Device = None) -> Tensor:
    """Return the complex generators of SU(2) about x, y and z, (3, 2j + 1, 2j + 1).

    Args:
        j: the spin, 0, 1/2, 1, ...
        dtype: dtype of the real part.

    Raises:
        ValueError: ``j`` is not a spin.
    """
    return as_tensor(wigner.su2_generators(j), dtype, device)


def change_basis_real_to_complex(
    l: int,
    dtype: torch.dtype | None = None,
    device: Device = None,
) -> Tensor:
    """Return the unitary (2l + 1, 2l + 1) from the real to the complex basis; ``dtype`` is that of its real part."""
    return as_tensor(wigner.change_basis_real_to_complex(l), dtype, device)


def _rotation_about_y(l: int, angle: Tensor) -> Tensor:
    turns = angle.unsqueeze(-1) * torch.arange(-l, l + 1, dtype=angle.dtype, device=angle.device)
    return turns.cos().diag_embed() - turns.sin().diag_embed().flip(-1)


def wigner_D(l: int, alpha: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
    """Return the Wigner matrix ``D^l`` of the rotation R_y(alpha) R_x(beta) R_y(gamma).

    D^l of a rotation about y consists of sines and cosines; R_x(beta) is R_y(beta) between a quarter turn and its
    inverse.

    Args:
        l: degree.
        alpha, beta, gamma: Euler angles in radians, of shapes (...) that broadcast.

    Returns:
        (..., 2l + 1, 2l + 1).
    """
    alpha, beta, gamma = torch.broadcast_tensors(*map(as_floating, (alpha, beta, gamma)))
    J = _rotation_y_to_x(l, dtype=alpha.dtype, device=alpha.device)
    about_x = J @ _rotation_about_y(l, beta) @ J.mT
    return _rotation_about_y(l, alpha) @ about_x @ _rotation_about_y(l, gamma)


def rotation_matrices(lmax: int, R: Tensor) -> list[Tensor]:
    """Return D^0 to D^lmax of rotations R (..., 3, 3); D^(l+1) is the highest degree of D^l times R."""
    matrices = [torch.ones_like(R[..., :1, :1]), R][: lmax + 1]
    while len(matrices) <= lmax:
        l = len(matrices) - 1
        c = wigner_3j(l, 1, l + 1, dtype=R.dtype, device=R.device)
        product = torch.einsum("...jm,...imn->...ijn", R, torch.einsum("...il,lmn->...imn", matrices[-1], c))
        matrices.append((2 * l + 3) * torch.einsum("ijk,...ijn->...kn", c, product))
    return matrices


def wigner_D_from_matrix(l: int, R: Tensor) -> Tensor:
    """Return the Wigner matrix ``D^l`` of rotation matrices, as a polynomial in R without the singularities of angles.

    Args:
        l: degree.
        R: (..., 3, 3).

    Returns:
        (..., 2l + 1, 2l + 1).

    Raises:
        ValueError: matrices that are not rotations (not checked in compiled code).
    """
    return rotation_matrices(l, require_rotations(R))[l]

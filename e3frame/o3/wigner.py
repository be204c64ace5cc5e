"""Matrices and invariant tensors of the irreps of SO(3) in torch."""

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
    """Invariant tensor of unit norm and shape ``(2 l1 + 1, 2 l2 + 1, 2 l3 + 1)``; a fresh copy.

    ``C_ijk = Σ D_il D_jm D_kn C_lmn`` for every rotation.

    Raises:
        ValueError: the degrees break the triangle rule.
    """
    return _wigner_3j(l1, l2, l3, dtype=dtype, device=device)


def so3_generators(l: int, dtype: torch.dtype | None = None, device: Device = None) -> Tensor:
    """Real generators of SO(3) about x, y and z, of shape ``(3, 2l + 1, 2l + 1)``."""
    return as_tensor(wigner.so3_generators(l), dtype, device)


def su2_generators(j: float, dtype: torch.dtype | None = None, device: Device = None) -> Tensor:
    """Complex generators of SU(2) about x, y and z, of shape ``(3, 2j + 1, 2j + 1)``, for the spin j = 0, 1/2, 1, ...;
    ``dtype`` is the real one."""
    return as_tensor(wigner.su2_generators(j), dtype, device)


def change_basis_real_to_complex(
    l: int,
    dtype: torch.dtype | None = None,
    device: Device = None,
) -> Tensor:
    """Complex unitary matrix from the real to the complex basis of degree l; ``dtype`` is the real one."""
    return as_tensor(wigner.change_basis_real_to_complex(l), dtype, device)


def _rotation_about_y(l: int, angle: Tensor) -> Tensor:
    turns = angle.unsqueeze(-1) * torch.arange(-l, l + 1, dtype=angle.dtype, device=angle.device)
    return turns.cos().diag_embed() - turns.sin().diag_embed().flip(-1)


def wigner_D(l: int, alpha: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
    """Matrix ``D^l`` of the rotation R_y(alpha) R_x(beta) R_y(gamma), of shape ``(..., 2l + 1, 2l + 1)``.

    Every factor is a rotation about y, of which D^l is made of sines and cosines: R_x(beta) is R_y(beta) between a
    quarter turn and its inverse.
    """
    alpha, beta, gamma = torch.broadcast_tensors(*map(as_floating, (alpha, beta, gamma)))
    J = _rotation_y_to_x(l, dtype=alpha.dtype, device=alpha.device)
    about_x = J @ _rotation_about_y(l, beta) @ J.mT
    return _rotation_about_y(l, alpha) @ about_x @ _rotation_about_y(l, gamma)


def rotation_matrices(lmax: int, R: Tensor) -> list[Tensor]:
    """D^0 to D^lmax of rotations, each the stretched part of the product of the one before with R."""
    matrices = [torch.ones_like(R[..., :1, :1]), R][: lmax + 1]
    while len(matrices) <= lmax:
        l = len(matrices) - 1
        c = wigner_3j(l, 1, l + 1, dtype=R.dtype, device=R.device)
        product = torch.einsum("...jm,...imn->...ijn", R, torch.einsum("...il,lmn->...imn", matrices[-1], c))
        matrices.append((2 * l + 3) * torch.einsum("ijk,...ijn->...kn", c, product))
    return matrices


def wigner_D_from_matrix(l: int, R: Tensor) -> Tensor:
    """Matrix ``D^l`` of rotation matrices R ``(..., 3, 3)``: a polynomial of R, without the singularities of angles.

    Raises:
        ValueError: matrices that are no rotations; not checked when compiled.
    """
    return rotation_matrices(l, require_rotations(R))[l]

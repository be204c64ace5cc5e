"""Linear algebra on lists of vectors, with unique signs."""

from __future__ import annotations

import torch
from torch import Tensor

from e3frame.algebra.errors import AssertedError
from e3frame.kernels.constants import as_floating

__all__ = ["complete_basis", "direct_sum", "orthonormalize"]


def direct_sum(*matrices: Tensor) -> Tensor:
    """Return the block-diagonal matrix (..., Σ m, Σ n) of matrices (..., m, n).

    >>> direct_sum(torch.ones(1, 2), torch.ones(2, 1)).shape
    torch.Size([3, 3])
    """
    columns = sum(matrix.shape[-1] for matrix in matrices)
    rows, before = [], 0
    for matrix in matrices:
        after = columns - before - matrix.shape[-1]
        rows.append(torch.nn.functional.pad(matrix, (before, after)))
        before += matrix.shape[-1]
    return torch.cat(rows, dim=-2)


def orthonormalize(original: Tensor, eps: float = 1e-9) -> tuple[Tensor, Tensor]:
    """Orthonormalize vectors by Gram-Schmidt: y = A x with y yᵀ = 1.

    Vectors that depend linearly on earlier ones are dropped. The first nonzero component of each y is positive.

    Args:
        original: (n, dim), the vectors x.
        eps: lengths below 2 eps and components below eps count as zero.

    Returns:
        y, of shape (rank, dim), and A, of shape (rank, n).

    Raises:
        AssertedError: ``original`` is not a matrix.
    """
    _check_matrix(original)
    original = as_floating(original)
    vectors: list[Tensor] = []
    combinations: list[Tensor] = []
    for x, c in zip(original, torch.eye(len(original), dtype=original.dtype, device=original.device), strict=True):
        for y, a in zip(vectors, combinations, strict=True):
            overlap = x @ y
            x, c = x - overlap * y, c - overlap * a
        length = x.norm()
        if length > 2 * eps:
            x, sign = _clean(x / length, eps)
            c = torch.where((c / length).abs() < eps, 0.0, c / length)
            vectors.append(x)
            combinations.append(sign * c)
    return _stack(vectors, original.shape[1], original), _stack(combinations, len(original), original)


def complete_basis(vecs: Tensor, eps: float = 1e-9) -> Tensor:
    """Return orthonormal vectors that span the orthogonal complement of the given ones.

    Args:
        vecs: (n, dim), mutually orthogonal, nonzero.
        eps: lengths below 2 eps and components below eps count as zero.

    Returns:
        (dim - n, dim). The first nonzero component of each vector is positive.

    Raises:
        AssertedError: ``vecs`` is not a matrix.

    >>> complete_basis(torch.tensor([[0.0, 2.0, 0.0]])).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    _check_matrix(vecs)
    vecs = as_floating(vecs)
    dim = vecs.shape[1]
    basis = [x / x.norm() for x in vecs]
    added: list[Tensor] = []
    for x in torch.eye(dim, dtype=vecs.dtype, device=vecs.device):
        for y in basis + added:
            x = x - (x @ y) * y
        length = x.norm()
        if length > 2 * eps:
            added.append(_clean(x / length, eps)[0])
    return _stack(added, dim, vecs)


def _clean(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return x without rounding errors and with a positive first component, and the sign that it was multiplied by."""
    x = torch.where(x.abs() < eps, 0.0, x)
    sign = x[x.nonzero()[0, 0]].sign()
    return sign * x, sign


def _stack(vectors: list[Tensor], dim: int, like: Tensor) -> Tensor:
    return torch.stack(vectors) if vectors else like.new_zeros(0, dim)


def _check_matrix(vectors: Tensor) -> None:
    if vectors.dim() != 2:
        raise AssertedError(f"vectors must have shape (n, dim), got {tuple(vectors.shape)}")

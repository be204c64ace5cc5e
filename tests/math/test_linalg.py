"""Bases of vectors: e3nn's results and their defining identities."""

from __future__ import annotations

import pytest
import torch
from e3nn import math as oracle

from e3frame.math import complete_basis, direct_sum, orthonormalize


def vectors(n: int, dim: int, rank: int, generator: torch.Generator) -> torch.Tensor:
    """n vectors of a given rank, with zeros among the components."""
    left, right = torch.randn(n, rank, generator=generator), torch.randn(rank, dim, generator=generator)
    right[:, 0] = 0
    return left @ right


@pytest.mark.parametrize(("n", "dim", "rank"), [(3, 5, 3), (5, 4, 2), (4, 4, 3), (1, 3, 1), (0, 3, 1)])
def test_orthonormalize(n: int, dim: int, rank: int, generator: torch.Generator):
    x = vectors(n, dim, rank, generator)
    y, A = orthonormalize(x)
    assert y.shape == (min(n, rank), dim)
    torch.testing.assert_close(y @ y.T, torch.eye(len(y)))
    torch.testing.assert_close(A @ x, y)
    for ours, theirs in zip((y, A), oracle.orthonormalize(x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_orthonormalize_drops_what_is_small(generator: torch.Generator):
    x = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1e-4, 0.0], [0.0, 0.0, -2.0]])
    assert len(orthonormalize(x)[0]) == 3
    y, A = orthonormalize(x, eps=1e-3)
    torch.testing.assert_close(y, torch.tensor([[1.0, 0, 0], [0, 0, 1]]))
    torch.testing.assert_close(A, torch.tensor([[1.0, 0, 0], [0, 0, -0.5]]))


def test_orthonormalize_derivatives(generator: torch.Generator):
    x = torch.randn(3, 4, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(orthonormalize, x)
    assert torch.autograd.gradgradcheck(orthonormalize, x)
    assert orthonormalize(x.float())[0].dtype == torch.float32


@pytest.mark.parametrize(("n", "dim"), [(0, 3), (1, 1), (1, 4), (2, 5), (4, 4)])
def test_complete_basis(n: int, dim: int, generator: torch.Generator):
    given = 3 * torch.linalg.qr(torch.randn(dim, dim, generator=generator))[0][:n]
    added = complete_basis(given)
    assert added.shape == (dim - n, dim)
    whole = torch.cat([given / 3, added])
    torch.testing.assert_close(whole @ whole.T, torch.eye(dim))
    torch.testing.assert_close(added, oracle.complete_basis(given), rtol=0, atol=1e-10)


def test_complete_basis_derivatives(generator: torch.Generator):
    x = torch.randn(1, 3, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(complete_basis, x)
    assert torch.autograd.gradgradcheck(complete_basis, x)


def test_direct_sum(generator: torch.Generator):
    shapes = [(2, 3), (1, 1), (0, 2), (3, 2)]
    matrices = [torch.randn(4, *shape, generator=generator, requires_grad=True) for shape in shapes]
    total = direct_sum(*matrices)
    assert total.shape == (4, 6, 8)
    assert torch.equal(total, oracle.direct_sum(*matrices))
    torch.testing.assert_close(torch.func.vmap(direct_sum)(*matrices), total)
    assert torch.autograd.gradcheck(direct_sum, matrices[:2])
    assert torch.autograd.gradgradcheck(direct_sum, matrices[:2])


def test_lists_of_vectors_are_matrices():
    for f in (orthonormalize, complete_basis):
        with pytest.raises(ValueError, match=r"^vectors must have shape \(n, dim\), got \(3,\)$"):
            f(torch.ones(3))


def test_mistakes_are_those_that_e3nn_asserts():
    for f in (orthonormalize, complete_basis, oracle.orthonormalize, oracle.complete_basis):
        with pytest.raises(AssertionError):
            f(torch.ones(3))

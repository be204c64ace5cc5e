"""Constants of SO(3): signs and values of e3nn, and the identities that define them, to l = 11."""

from __future__ import annotations

import e3nn.o3
import numpy as np
import pytest
import torch

from e3frame.algebra import wigner

TRIPLES = [
    (0, 0, 0),
    (1, 1, 1),
    (2, 1, 3),
    (2, 2, 2),
    (1, 3, 4),
    (4, 3, 2),
    (5, 6, 7),
    (11, 11, 11),
    (11, 10, 1),
    (3, 11, 9),
]


@pytest.mark.parametrize("degrees", TRIPLES)
def test_3j_is_that_of_e3nn(degrees: tuple[int, int, int]) -> None:
    c = wigner.wigner_3j(*degrees)
    np.testing.assert_allclose(c, e3nn.o3.wigner_3j(*degrees, dtype=torch.float64).numpy(), atol=1e-14, rtol=0)
    assert np.linalg.norm(c) == pytest.approx(1, abs=1e-14)
    assert not c.flags.writeable


@pytest.mark.parametrize("degrees", TRIPLES)
def test_3j_is_invariant(degrees: tuple[int, int, int]) -> None:
    c = wigner.wigner_3j(*degrees)
    x1, x2, x3 = map(wigner.so3_generators, degrees)
    change = np.einsum("gil,ljk->gijk", x1, c) + np.einsum("gjl,ilk->gijk", x2, c) + np.einsum("gkl,ijl->gijk", x3, c)
    np.testing.assert_allclose(change, 0, atol=1e-12)


@pytest.mark.parametrize(("l1", "l2"), [(1, 1), (2, 3), (5, 4), (11, 11)])
def test_3j_is_orthogonal(l1: int, l2: int) -> None:
    """The symbols of all l3 together are an orthogonal matrix from l1 ⊗ l2 to the sum of the l3."""
    blocks = [
        np.sqrt(2 * l3 + 1) * wigner.wigner_3j(l1, l2, l3).reshape(-1, 2 * l3 + 1)
        for l3 in range(abs(l1 - l2), l1 + l2 + 1)
    ]
    matrix = np.concatenate(blocks, axis=1)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(len(matrix)), atol=1e-12)


def test_3j_of_vectors_is_the_cross_product() -> None:
    c = wigner.wigner_3j(1, 1, 1)
    x, y = np.random.default_rng(0).normal(size=(2, 3))
    np.testing.assert_allclose(np.einsum("ijk,i,j->k", c, x, y), np.cross(x, y) / np.sqrt(6), atol=1e-15)


@pytest.mark.parametrize("l", range(12))
def test_generators(l: int) -> None:  # noqa: E741
    x, y, z = wigner.so3_generators(l)
    for a, b, c in [(x, y, z), (y, z, x), (z, x, y)]:
        np.testing.assert_allclose(a @ b - b @ a, c, atol=1e-12)
        np.testing.assert_allclose(a, -a.T, atol=1e-14)
    np.testing.assert_allclose(x @ x + y @ y + z @ z, -l * (l + 1) * np.eye(2 * l + 1), atol=1e-11)
    q = wigner.change_basis_real_to_complex(l)
    np.testing.assert_allclose(q @ q.conj().T, np.eye(2 * l + 1), atol=1e-15)
    np.testing.assert_allclose(q.conj().T @ wigner.su2_generators(l) @ q, [x, y, z], atol=1e-12)
    np.testing.assert_allclose(q, e3nn.o3.change_basis_real_to_complex(l, torch.float64).numpy(), atol=1e-15)


@pytest.mark.parametrize("l", range(12))
def test_quarter_turn_takes_y_to_x(l: int) -> None:  # noqa: E741
    turn = wigner.rotation_y_to_x(l)
    x, y, _ = wigner.so3_generators(l)
    np.testing.assert_allclose(turn @ turn.T, np.eye(2 * l + 1), atol=1e-13)
    np.testing.assert_allclose(turn @ y @ turn.T, x, atol=1e-12)


@pytest.mark.parametrize("degrees", [(1, 1, 1), (2, 3, 4), (3, 3, 0)])
def test_clebsch_gordan_squares_are_rational(degrees: tuple[int, int, int]) -> None:
    c = wigner.su2_clebsch_gordan(*degrees)
    flat = c.reshape(-1, c.shape[-1])
    np.testing.assert_allclose(flat.T @ flat, np.eye(c.shape[-1]), atol=1e-15)
    from sympy import S
    from sympy.physics.quantum.cg import CG

    j1, j2, j3 = degrees
    for m1 in range(-j1, j1 + 1):
        for m2 in range(max(-j2, -j3 - m1), min(j2, j3 - m1) + 1):
            expected = CG(S(j1), S(m1), S(j2), S(m2), S(j3), S(m1 + m2)).doit()
            assert c[j1 + m1, j2 + m2, j3 + m1 + m2] == pytest.approx(float(expected), abs=1e-15)


def test_errors() -> None:
    with pytest.raises(ValueError, match="1, 1, 3 break the triangle rule"):
        wigner.wigner_3j(1, 1, 3)
    with pytest.raises(ValueError, match="degrees must be non-negative integers, got -1"):
        wigner.so3_generators(-1)
    with pytest.raises(ValueError, match=r"degrees must be non-negative integers, got 1\.0, 1, 1"):
        wigner.wigner_3j(1.0, 1, 1)  # type: ignore[arg-type]
    assert not wigner.su2_clebsch_gordan(1, 1, 3).any()

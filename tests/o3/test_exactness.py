"""Closed forms and identities of D and of the harmonics, to 1e-12 in float64 and to degree 11."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from e3frame import o3

CLOSE = {"atol": 1e-12, "rtol": 0}
DEGREES = list(range(12))


@pytest.fixture
def points(generator: torch.Generator) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(8, 3, generator=generator), dim=-1)


def rotations(generator: torch.Generator) -> Tensor:
    return o3.rand_matrix(6, generator=generator)


@pytest.mark.parametrize("l", DEGREES)
@pytest.mark.parametrize("p", [1, -1])
def test_D_is_a_representation(l: int, p: int, generator: torch.Generator) -> None:  # noqa: E741
    ir = o3.Irrep(l, p)
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])[:, None, None]
    A, B = rotations(generator) * signs, rotations(generator) * signs.flip(0)
    D = ir.D_from_matrix(A)
    torch.testing.assert_close(ir.D_from_matrix(A @ B), D @ ir.D_from_matrix(B), **CLOSE)
    torch.testing.assert_close(ir.D_from_matrix(A.mT), D.mT, **CLOSE)
    torch.testing.assert_close(D @ D.mT, torch.eye(ir.dim).expand_as(D), **CLOSE)
    torch.testing.assert_close(ir.D_from_matrix(-torch.eye(3)), p * torch.eye(ir.dim), **CLOSE)
    torch.testing.assert_close(ir.D_from_matrix(torch.eye(3)), torch.eye(ir.dim), **CLOSE)


@pytest.mark.parametrize("l", DEGREES)
def test_D_of_every_description(l: int, generator: torch.Generator) -> None:  # noqa: E741
    """One matrix from angles, quaternions, axes and matrices; its trace is the character sin((l + 1/2)θ)/sin(θ/2)."""
    irreps = o3.Irreps([(2, (l, -1)), (1, (0, 1))])
    angles = o3.rand_angles(5, generator=generator)
    D = irreps.D_from_angles(*angles)
    axis, angle = o3.angles_to_axis_angle(*angles)
    torch.testing.assert_close(irreps.D_from_matrix(o3.angles_to_matrix(*angles)), D, **CLOSE)
    torch.testing.assert_close(irreps.D_from_quaternion(o3.angles_to_quaternion(*angles)), D, **CLOSE)
    torch.testing.assert_close(irreps.D_from_axis_angle(axis, angle), D, **CLOSE)
    k = torch.ones(5)
    torch.testing.assert_close(irreps.D_from_angles(*angles, k), irreps.D_from_matrix(-o3.angles_to_matrix(*angles)))
    trace = o3.wigner_D(l, *angles).diagonal(dim1=-2, dim2=-1).sum(-1)
    torch.testing.assert_close(trace, torch.sin((l + 0.5) * angle) / torch.sin(angle / 2), atol=1e-11, rtol=0)


@pytest.mark.parametrize("l", DEGREES)
def test_D_is_generated(l: int) -> None:  # noqa: E741
    """D(R_a(t)) = exp(t X_a)."""
    t, zero = torch.tensor(0.7), torch.tensor(0.0)
    X = o3.so3_generators(l)
    torch.testing.assert_close(o3.wigner_D(l, zero, t, zero), torch.linalg.matrix_exp(t * X[0]), **CLOSE)
    torch.testing.assert_close(o3.wigner_D(l, t, zero, zero), torch.linalg.matrix_exp(t * X[1]), **CLOSE)


@pytest.mark.parametrize("l", DEGREES)
def test_addition_theorem(l: int, points: Tensor) -> None:  # noqa: E741
    """Y^l(x) · Y^l(y) = (2l + 1) P_l(x · y), P_l the Legendre polynomial."""
    Y = o3.spherical_harmonics(l, points, False, "component")
    expected = (2 * l + 1) * np.polynomial.legendre.Legendre.basis(l)((points @ points.T).numpy())
    torch.testing.assert_close(Y @ Y.T, torch.tensor(expected), atol=1e-11, rtol=0)
    norm = o3.spherical_harmonics(l, points, False, "norm")
    torch.testing.assert_close(norm @ norm.T, torch.tensor(expected) / (2 * l + 1), **CLOSE)


@pytest.mark.parametrize("l", DEGREES[:4])
def test_closed_forms(l: int, points: Tensor) -> None:  # noqa: E741
    x, y, z = points.unbind(-1)
    r15, r35, r21, r105 = (n**0.5 for n in (15.0, 35.0, 21.0, 105.0))
    forms = [
        [torch.ones_like(x)],
        [3**0.5 * x, 3**0.5 * y, 3**0.5 * z],
        [r15 * x * z, r15 * x * y, 5**0.5 * (3 * y**2 - 1) / 2, r15 * y * z, r15 * (z**2 - x**2) / 2],
        [
            (r35 / 8**0.5) * x * (3 * z**2 - x**2),
            r105 * x * y * z,
            (r21 / 8**0.5) * x * (5 * y**2 - 1),
            7**0.5 * y * (5 * y**2 - 3) / 2,
            (r21 / 8**0.5) * z * (5 * y**2 - 1),
            r105 * y * (z**2 - x**2) / 2,
            (r35 / 8**0.5) * z * (z**2 - 3 * x**2),
        ],
    ]
    Y = o3.spherical_harmonics(l, points, False, "component")
    torch.testing.assert_close(Y, torch.stack(forms[l], dim=-1), **CLOSE)


@pytest.mark.parametrize("degrees", [(1, 1, 2), (2, 3, 1), (4, 4, 4), (5, 6, 11), (11, 11, 10), (1, 10, 11)])
def test_products_of_harmonics_are_harmonics(degrees: tuple[int, int, int], points: Tensor) -> None:
    """Σ C_ijk Y^l1_i Y^l2_j ∝ Y^l3_k (Gaunt), with the constant of the pole; zero for an odd sum of degrees."""
    l1, l2, l3 = degrees
    Y1, Y2, Y3 = (o3.spherical_harmonics(degree, points, False, "norm") for degree in degrees)
    C = o3.wigner_3j(*degrees)
    product = torch.einsum("ijk,zi,zj->zk", C, Y1, Y2)
    torch.testing.assert_close(product, C[l1, l2, l3] * Y3, **CLOSE)
    odd = o3.wigner_3j(l1, l1, 1)
    assert torch.einsum("ijk,zi,zj->zk", odd, Y1, Y1).abs().max() < 1e-12


@pytest.mark.parametrize("l", [0, 1, 4, 7, 11])
def test_harmonics_are_harmonic_and_generated(l: int, points: Tensor) -> None:  # noqa: E741
    """ΔY = 0, x · ∇Y = l Y, and (x × ∇) Y = -X Y with the generators X of so(3)."""

    def Y(x: Tensor) -> Tensor:
        return o3.spherical_harmonics(l, x, False, "norm")

    jacobian, hessian = torch.func.jacfwd(Y), torch.func.jacfwd(torch.func.jacrev(Y))
    levi_civita = o3.wigner_3j(1, 1, 1) * 6**0.5
    for x in points[:3]:
        gradient = jacobian(x)
        laplacian = hessian(x).diagonal(dim1=-2, dim2=-1).sum(-1)
        torch.testing.assert_close(laplacian, torch.zeros(2 * l + 1), atol=1e-12 * (1 + l) ** 2, rtol=0)
        torch.testing.assert_close(gradient @ x, l * Y(x), **CLOSE)
        turned = torch.einsum("aij,i,mj->am", levi_civita, x, gradient)
        # An infinitesimal turn about a moves x by a × x: the change of Y is X_a Y = (a × x) · ∇Y = a · (x × ∇Y).
        torch.testing.assert_close(turned, o3.so3_generators(l) @ Y(x), atol=1e-12 * (1 + l), rtol=0)


def test_the_documented_example() -> None:
    Y = o3.spherical_harmonics(2, torch.tensor([0.0339, 0.1357, 0.4650]), normalize=True, normalization="component")
    expected = torch.tensor([0.259, 0.076, -0.856, 1.036, 1.766])
    torch.testing.assert_close(Y, expected, atol=2e-3, rtol=0)  # the rounding of the inputs

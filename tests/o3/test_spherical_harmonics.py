"""Spherical harmonics: values, orthonormality, equivariance and derivatives, also at zero."""

from __future__ import annotations

from collections.abc import Callable

import e3nn.o3
import numpy as np
import pytest
import torch
from torch import Tensor

from e3frame import o3

NORMALIZATIONS = ["integral", "component", "norm"]
ALL = list(range(12))


@pytest.fixture
def points(generator: torch.Generator) -> Tensor:
    return torch.randn(20, 3, generator=generator)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("normalize", [True, False])
def test_values_are_those_of_e3nn(points: Tensor, normalize: bool, normalization: str) -> None:
    ours = o3.spherical_harmonics(ALL, points, normalize, normalization)
    theirs = e3nn.o3.spherical_harmonics(ALL, points, normalize, normalization)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("l", [0, 1, [2], [3, 1, 1], "2x2e + 1o", "0e + 1e", o3.Irreps("3o"), []])
def test_chooses_degrees(points: Tensor, l: object) -> None:  # noqa: E741
    ours = o3.SphericalHarmonics(l, True)
    out = ours(points.reshape(4, 5, 3))
    assert out.shape == (4, 5, ours.irreps_out.dim)
    assert out.is_contiguous()
    if l != []:
        oracle_l = repr(l) if isinstance(l, o3.Irreps) else l
        oracle = e3nn.o3.SphericalHarmonics(oracle_l, True)
        assert repr(ours.irreps_out) == repr(oracle.irreps_out)
        torch.testing.assert_close(out.flatten(0, 1), oracle(points), atol=1e-13, rtol=0)


@pytest.mark.parametrize("irreps_in", ["1o", "1e"])
def test_equivariant(points: Tensor, motion: Tensor, irreps_in: str) -> None:
    harmonics = o3.SphericalHarmonics(ALL, False, "component", irreps_in)
    D_in, D_out = (irreps.D_from_matrix(motion) for irreps in (harmonics.irreps_in, harmonics.irreps_out))
    unit = torch.nn.functional.normalize(points, dim=-1)
    torch.testing.assert_close(harmonics(unit @ D_in.T), harmonics(unit) @ D_out.T, atol=1e-12, rtol=0)


def test_orthonormal() -> None:
    """The quadrature is exact for polynomials of degree 23: Gauss-Legendre in y, equal steps around it."""
    y, weights = np.polynomial.legendre.leggauss(12)
    y, weights = torch.tensor(y), torch.tensor(weights)
    alpha = torch.arange(24) * (2 * torch.pi / 24)
    r = (1 - y**2).sqrt()[:, None]
    grid = torch.stack([r * alpha.sin(), y[:, None].expand(12, 24), r * alpha.cos()], dim=-1)
    Y = o3.spherical_harmonics(ALL, grid, False, "integral")
    gram = torch.einsum("b,bai,baj->ij", weights * (2 * torch.pi / 24), Y, Y)
    torch.testing.assert_close(gram, torch.eye(144), atol=1e-12, rtol=0)


def test_normalizations(points: Tensor) -> None:
    for l in ALL:  # noqa: E741
        component = o3.spherical_harmonics(l, points, True, "component")
        torch.testing.assert_close(component.square().sum(-1), torch.full((20,), 2.0 * l + 1))
        norm = o3.spherical_harmonics(l, points, True, "norm")
        torch.testing.assert_close(norm.norm(dim=-1), torch.ones(20))


def test_homogeneous(points: Tensor) -> None:
    for l in (0, 1, 4):  # noqa: E741
        Y = o3.spherical_harmonics(l, points, False)
        torch.testing.assert_close(o3.spherical_harmonics(l, 3 * points, False), 3**l * Y)
        torch.testing.assert_close(
            o3.spherical_harmonics(l, 1e-30 * points, True), o3.spherical_harmonics(l, points, True)
        )


@pytest.mark.parametrize("normalize", [True, False])
def test_derivatives(points: Tensor, normalize: bool) -> None:
    x = points[:3].clone().requires_grad_()
    harmonics = o3.SphericalHarmonics(range(5), normalize, "component")
    assert torch.autograd.gradcheck(harmonics, (x,))
    assert torch.autograd.gradgradcheck(harmonics, (x,))


def _derivatives(harmonics: o3.SphericalHarmonics, x: Tensor, order: int) -> list[Tensor]:
    """The sum of all values and its derivatives along (1, 2, 3), by repeated reverse differentiation."""
    direction = torch.tensor([1.0, 2.0, 3.0], dtype=x.dtype)
    value = harmonics(x).sum()
    out = [value]
    for _ in range(order):
        (gradient,) = torch.autograd.grad(value, x, create_graph=True)
        value = (gradient @ direction).sum()
        out += [gradient, value]
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0.0, 1e-300, 1e-40, 1e-20, 1e-12, 1e-8, 1e-5, 1e-3])
@pytest.mark.parametrize("normalize", [True, False])
def test_derivatives_are_finite_at_and_near_zero(dtype: torch.dtype, size: float, normalize: bool) -> None:
    x = (size * torch.tensor([[0.3, -0.5, 0.8], [0.0, 0.0, 1.0]])).to(dtype).requires_grad_()
    values = _derivatives(o3.SphericalHarmonics(range(1, 5), normalize), x, order=3)
    assert all(value.isfinite().all() for value in values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_direction_of_zero_has_no_derivatives(dtype: torch.dtype) -> None:
    x = torch.tensor([[0.0, 0, 0], [1, 2, 3]], dtype=dtype, requires_grad=True)
    out = o3.spherical_harmonics([0, 1, 2, 3], x, True, "component")
    torch.testing.assert_close(out[0], torch.tensor([1.0] + [0.0] * 15, dtype=dtype))
    (first,) = torch.autograd.grad(out.square().sum() + out.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert not first[0].any()
    assert not second[0].any()
    assert first[1].any()
    assert second[1].any()


def test_compiles_and_transforms(points: Tensor, compiled: Callable) -> None:
    harmonics = o3.SphericalHarmonics([0, 1, 2, 3], True, "component")
    expected = harmonics(points)
    x = points.clone().requires_grad_()
    fast = compiled(harmonics)
    torch.testing.assert_close(fast(x), expected)
    (gradient,) = torch.autograd.grad(fast(x).square().sum(), x)
    (same,) = torch.autograd.grad(harmonics(x).square().sum(), x)
    torch.testing.assert_close(gradient, same)
    torch.testing.assert_close(torch.func.vmap(harmonics)(points), expected)
    value, tangent = torch.func.jvp(harmonics, (points,), (torch.ones_like(points),))
    jacobian = torch.func.vmap(torch.func.jacrev(harmonics))(points)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(tangent, jacobian.sum(-1))


def test_constants_stay_exact(points: Tensor) -> None:
    module = o3.SphericalHarmonics(ALL, True)
    torch.testing.assert_close(
        module.float().double()(points), o3.spherical_harmonics(ALL, points, True), atol=0, rtol=0
    )
    assert module(points.float()).dtype == torch.float32


@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 0, 3)])
def test_shapes(shape: tuple[int, ...]) -> None:
    assert o3.spherical_harmonics([0, 2], torch.ones(shape), True).shape == (*shape[:-1], 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("2o", True), r"spherical harmonics of 1x1o cannot be 2o; degree 2 is 2e"),
        (("1e + 1o", True), r"spherical harmonics of 1x1e cannot be 1o; degree 1 is 1e"),
        ((1, True, "x"), r"normalization must be one of integral, component, norm; got 'x'"),
        ((1, True, "norm", "2e"), r"functions of one vector, 1x1o or 1x1e; got 1x2e"),
    ],
)
def test_errors(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        o3.SphericalHarmonics(*arguments)


def test_refuses_what_is_no_vector() -> None:
    with pytest.raises(ValueError, match=r"^x must have a last dimension of 3, got \(3, 4\)$"):
        o3.spherical_harmonics(1, torch.ones(3, 4), True)

"""Radial bases and envelopes: values, normalization, derivatives at zero and at the cutoff; geometry."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from support.native import needs_native
from torch.autograd import gradcheck, gradgradcheck

from e3frame.math.radial import sinc
from e3frame.nn import (
    BesselBasis,
    ChebyshevBasis,
    CosineEnvelope,
    EdgeVectors,
    GaussianBasis,
    PolynomialEnvelope,
    RadialBasis,
    XplorEnvelope,
    edge_vectors,
    safe_norm,
)

R_MAX = 4.3
BASES = {
    "bessel": lambda: BesselBasis(R_MAX, 6),
    "trainable": lambda: BesselBasis(R_MAX, 6, trainable=True),
    "gaussian": lambda: GaussianBasis(R_MAX, 6),
    "chebyshev": lambda: ChebyshevBasis(R_MAX, 6),
}
ENVELOPES = {
    "polynomial": lambda: PolynomialEnvelope(R_MAX, 6),
    "polynomial_2": lambda: PolynomialEnvelope(R_MAX, 2),
    "cosine": lambda: CosineEnvelope(R_MAX),
    "xplor": lambda: XplorEnvelope(0.8 * R_MAX, R_MAX),
}
FUNCTIONS = {**BASES, **ENVELOPES}


def derivatives(f, d: torch.Tensor, order: int) -> list[torch.Tensor]:
    """Value and derivatives of a function of one number, summed over what it returns with fixed weights."""
    d = d.clone().requires_grad_()
    out = f(d)
    out = out if out.shape == d.shape else out @ torch.linspace(1.0, 2.0, out.shape[-1], dtype=d.dtype)
    found = [out]
    for _ in range(order):
        found.append(torch.autograd.grad(found[-1].sum(), d, create_graph=True)[0])
    return [value.detach() for value in found]


def test_sinc_derivatives_against_the_series():
    """Both branches, and their seam at 1, in 50 terms of the series."""
    z = torch.cat(
        [torch.tensor([0.0, 1e-300, 1e-30, 1e-12, 1e-8, 1e-4, 0.1, 0.999999, 1.0, 1.000001]), torch.arange(2, 8)]
    )
    terms = torch.arange(0, 50.0)
    coefficients = (-1) ** terms * torch.exp(-torch.lgamma(2 * terms + 2))
    for order, found in enumerate(derivatives(sinc, z, 2)):
        power = 2 * terms - order
        falling = math.prod((2 * terms - k) for k in range(order)) if order else torch.ones(50)
        expected = (coefficients * falling * torch.where(power < 0, 0.0, z[:, None] ** power.clamp(min=0))).sum(-1)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


def test_sinc_in_float32():
    z = torch.logspace(-20, 1, 300, dtype=torch.float64)
    for single, double in zip(derivatives(sinc, z.float(), 2), derivatives(sinc, z.float().double(), 2), strict=True):
        torch.testing.assert_close(single.double(), double, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["bessel", "trainable"])
def test_bessel_values(name: str):
    basis = BASES[name]()
    d = torch.linspace(0.01, R_MAX, 50)
    n = torch.arange(1, 7)
    expected = math.sqrt(2 / R_MAX) * torch.sin(n * math.pi * d[:, None] / R_MAX) / d[:, None]
    torch.testing.assert_close(basis(d), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(basis(torch.zeros(1))[0], math.sqrt(2 / R_MAX) * n * math.pi / R_MAX)
    assert [p.shape for p in basis.parameters()] == ([(6,)] if name == "trainable" else [])


def test_bessel_is_orthonormal():
    nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(80))
    d = (nodes + 1) * R_MAX / 2
    values = BesselBasis(R_MAX, 6)(d)
    gram = torch.einsum("dm,dn,d->mn", values, values, weights * d**2 * R_MAX / 2)
    torch.testing.assert_close(gram, torch.eye(6), rtol=0, atol=1e-10)


def test_gaussian_values():
    basis = GaussianBasis(R_MAX, 6)
    centers = torch.linspace(0, R_MAX, 6)
    width = R_MAX / 5
    d = torch.linspace(0, R_MAX, 30)
    expected = torch.exp(-((d[:, None] - centers) ** 2) / (2 * width**2))
    torch.testing.assert_close(basis(d), expected, rtol=0, atol=1e-13)
    single = torch.exp(-0.5 * (d / R_MAX) ** 2)[:, None]
    torch.testing.assert_close(GaussianBasis(R_MAX, 1)(d), single, rtol=0, atol=1e-13)


def test_chebyshev_values():
    d = torch.linspace(0, 2 * R_MAX, 50)
    for scale, x in ((R_MAX, d / R_MAX), (1.0, d)):
        angle = torch.arccos(x.clamp(max=1.0))[:, None] * torch.arange(1, 6)
        beyond = torch.cosh(torch.arccosh(x.clamp(min=1.0))[:, None] * torch.arange(1, 6))
        expected = torch.where(x[:, None] <= 1, torch.cos(angle), beyond)
        torch.testing.assert_close(ChebyshevBasis(scale, 5)(d), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("p", [2, 3, 6, 9])
def test_polynomial_envelope_is_the_published_one(p: int):
    d = torch.linspace(0, R_MAX, 40)
    x = d / R_MAX
    expected = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    torch.testing.assert_close(PolynomialEnvelope(R_MAX, p)(d), expected, rtol=0, atol=1e-12)


def test_polynomial_envelope_is_accurate_near_the_cutoff():
    """There u = p (p + 1) (p + 2)/6 (1 - x)³, to first order, also in float32."""
    delta = torch.tensor([1e-1, 1e-2, 1e-3]) ** 2
    for dtype, rtol in ((torch.float64, 0.08), (torch.float32, 0.2)):
        value = PolynomialEnvelope(1.0, 6)((1 - delta).to(dtype)).double()
        torch.testing.assert_close(value[1:], 56 * delta[1:] ** 3, rtol=rtol, atol=0)


def test_cosine_envelope_values():
    d = torch.linspace(0, R_MAX, 40)
    expected = (torch.cos(math.pi * d / R_MAX) + 1) / 2
    torch.testing.assert_close(CosineEnvelope(R_MAX)(d), expected, rtol=0, atol=1e-14)


def test_xplor_envelope_values():
    """As CHARMM writes it, in squares of lengths."""
    start = 0.8 * R_MAX
    d = torch.linspace(0.0, R_MAX, 40)
    s, a, c = d**2, start**2, R_MAX**2
    expected = torch.where(d < start, torch.ones_like(d), (c - s) ** 2 * (c + 2 * s - 3 * a) / (c - a) ** 3)
    torch.testing.assert_close(XplorEnvelope(start, R_MAX)(d), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ENVELOPES)
def test_envelopes_end_exactly(name: str):
    envelope = ENVELOPES[name]()
    assert envelope(torch.zeros(1)).item() == 1.0
    for dtype in (torch.float64, torch.float32):
        beyond = torch.tensor([R_MAX, R_MAX * 1.0001, 2 * R_MAX, 1e6], dtype=dtype)
        value, slope, curvature = derivatives(envelope, beyond, 2)
        assert not value.any()
        assert not slope.any()
        assert name in ("cosine", "xplor") or not curvature.any()


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("envelope", ENVELOPES)
def test_basis_with_envelope_ends_exactly(basis: str, envelope: str, generator: torch.Generator):
    radial = RadialBasis(BASES[basis](), ENVELOPES[envelope]())
    direction = torch.nn.functional.normalize(torch.randn(4, 3, generator=generator), dim=-1)
    vectors = (direction * torch.tensor([1.0 + 1e-12, 1.01, 1.5, 9.0])[:, None] * R_MAX).requires_grad_()
    out = radial(vectors)
    assert out.shape == (4, 6)
    assert not out.any()
    (gradient,) = torch.autograd.grad(out.sum(), vectors)
    assert not gradient.any()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_finite_derivatives_everywhere(name: str, dtype: torch.dtype):
    d = torch.tensor([0.0, 1e-40, 1e-20, 1e-8, 1e-4, 0.1, R_MAX, 2 * R_MAX], dtype=dtype)
    for value in derivatives(FUNCTIONS[name]().to(dtype), d, 3):
        assert value.dtype == dtype
        assert torch.isfinite(value).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name: str):
    d = torch.tensor([1e-5, 0.05, 0.4, 1.4, 3.0, 4.2, 5.0], requires_grad=True)
    function = FUNCTIONS[name]()
    inputs = (d, *function.parameters())
    assert gradcheck(lambda d, *_: function(d), inputs)
    assert gradgradcheck(lambda d, *_: function(d), inputs)


@pytest.mark.parametrize("basis", BASES)
def test_short_and_missing_edges(basis: str):
    radial = RadialBasis(BASES[basis](), PolynomialEnvelope(R_MAX))
    vectors = torch.tensor(
        [[0.0, 0, 0], [1e-200, 0, 0], [1e-14, 0, 0], [1e-6, 2e-6, 0], [1.0, 0, 0]], requires_grad=True
    )
    (first,) = torch.autograd.grad(radial(vectors).square().sum(), vectors, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), vectors)
    assert torch.isfinite(first).all()
    assert torch.isfinite(second).all()
    assert not first[:2].any()
    assert radial(torch.zeros(0, 3)).shape == (0, 6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_copies_casts_and_saves(name: str):
    function = FUNCTIONS[name]()
    d = torch.linspace(0, 5, 20)
    assert torch.equal(copy.deepcopy(function)(d), function(d))
    other = FUNCTIONS[name]()
    other.load_state_dict(function.state_dict())
    # All constants are whole numbers, so that a cast to float32 and back loses nothing.
    assert torch.equal(other.float().double()(d), function(d))
    assert other.float()(d.float()).dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BesselBasis(0.0, 8), r"^r_max must be a positive length in Å, got 0.0$"),
        (lambda: GaussianBasis(math.inf, 8), r"^r_max must be a positive length in Å, got inf$"),
        (lambda: CosineEnvelope(-1.0), r"^r_max must be a positive length in Å, got -1.0$"),
        (lambda: PolynomialEnvelope(math.nan), r"^r_max must be a positive length in Å, got nan$"),
        (lambda: BesselBasis(5.0, 0), r"^num_basis must be positive, got 0$"),
        (lambda: GaussianBasis(5.0, 0), r"^num_basis must be positive, got 0$"),
        (lambda: PolynomialEnvelope(5.0, 1), r"^p must be an integer of at least 2, got 1$"),
        (lambda: XplorEnvelope(5.0, 5.0), r"^start must be a positive length below r_max = 5.0 Å, got 5.0$"),
        (lambda: PolynomialEnvelope(5.0, 6.5), r"^p must be an integer of at least 2, got 6.5$"),
    ],
)
def test_errors(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()


def test_edge_vectors():
    pos = torch.tensor([[0.0, 0, 0], [1, 2, 3]])
    edge_index = torch.tensor([[0, 1, 1], [1, 0, 1]])
    shift = torch.tensor([[0.0, 0, 0], [10, 0, 0], [0, 5, 0]])
    expected = torch.tensor([[-1.0, -2, -3], [11, 2, 3], [0, 5, 0]])
    assert torch.equal(edge_vectors(pos, edge_index, shift), expected)
    assert torch.equal(EdgeVectors()(pos, edge_index, shift), expected)
    assert torch.equal(edge_vectors(pos, edge_index), expected - shift)
    assert EdgeVectors()(pos, edge_index[:, :0], shift[:0]).shape == (0, 3)


def test_edge_vectors_take_gradients_back_to_nodes_and_shifts():
    pos = torch.randn(5, 3, dtype=torch.float64).requires_grad_()
    shift = torch.randn(7, 3, dtype=torch.float64).requires_grad_()
    edge_index = torch.tensor([[0, 1, 1, 4, 2, 2, 0], [1, 0, 1, 2, 4, 0, 1]])
    cotangent = torch.randn(7, 3, dtype=torch.float64)
    own = torch.autograd.grad(edge_vectors(pos, edge_index, shift), (pos, shift), cotangent)
    source, target = edge_index
    expected = torch.autograd.grad(pos[source] - pos[target] + shift, (pos, shift), cotangent)
    torch.testing.assert_close(own, expected, atol=1e-14, rtol=0)
    assert torch.autograd.gradgradcheck(lambda p, s: edge_vectors(p, edge_index, s).square(), (pos, shift))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"edge_index": torch.tensor([[0, 5], [1, 0]])}, IndexError, "the index 5, which is not below 5"),
        ({"edge_shift": torch.zeros(3, 3)}, ValueError, r"edge_shift must have shape \(2, 3\), got \(3, 3\)"),
    ],
)
@needs_native
def test_edge_vectors_of_wrong_arguments(change: dict, error: type[Exception], message: str):
    right = {"pos": torch.zeros(5, 3), "edge_index": torch.tensor([[0, 1], [1, 0]]), "edge_shift": torch.zeros(2, 3)}
    with pytest.raises(error, match=message):
        edge_vectors(**right | change)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-18, 1e-13, 1e-9, 1.0])
def test_safe_norm(dtype: torch.dtype, size: float):
    x = (torch.tensor([[3.0, 0.0, 4.0]], dtype=dtype) * size).requires_grad_()
    norm = safe_norm(x)
    (first,) = torch.autograd.grad(norm.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first[0, 0], x)
    assert torch.isfinite(first).all()
    assert torch.isfinite(second).all()
    if size == 0.0:
        assert not norm.any()
        assert not first.any()
    if size >= (1e-30 if dtype == torch.float64 else 1e-13):
        assert norm.item() == pytest.approx(5 * size, rel=1e-5)
        torch.testing.assert_close(first.detach(), torch.tensor([[0.6, 0.0, 0.8]], dtype=dtype))
    assert safe_norm(x, keepdim=True).shape == (1, 1)
    assert safe_norm(x, dim=0).shape == (3,)


def test_safe_norm_derivatives(generator: torch.Generator):
    x = torch.randn(4, 3, generator=generator, requires_grad=True)
    assert gradcheck(safe_norm, x)
    assert gradgradcheck(safe_norm, x)

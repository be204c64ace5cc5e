"""Spherical harmonics of Euler angles against e3nn and against those of vectors."""

from __future__ import annotations

import e3nn.o3
import pytest
import torch

from e3frame import o3


@pytest.mark.parametrize("normalization", ["integral", "component", "norm"])
@pytest.mark.parametrize("l", [0, 3, [2, 0, 11], o3.Irreps("2x1o + 4e"), []])
def test_harmonics_of_angles_are_those_of_vectors(l: object, normalization: str, generator: torch.Generator) -> None:  # noqa: E741
    alpha, beta = 3 * torch.randn(2, 4, 5, generator=generator)
    ours = o3.spherical_harmonics_alpha_beta(l, alpha, beta, normalization=normalization)
    degrees = l.ls if isinstance(l, o3.Irreps) else l
    of_vectors = o3.spherical_harmonics(degrees, o3.angles_to_xyz(alpha, beta), True, normalization)
    # Beyond half a turn the sine is negative: the same polynomials hold, so that beta need not be in [0, π].
    torch.testing.assert_close(ours, of_vectors, atol=1e-12, rtol=0)
    if l != []:
        theirs = e3nn.o3.spherical_harmonics_alpha_beta(degrees, alpha, beta, normalization=normalization)
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=0)
    module = o3.SphericalHarmonicsAlphaBeta(l, normalization)
    torch.testing.assert_close(module(alpha, beta), ours, atol=0, rtol=0)


def test_legendre_is_the_polynomial_of_e3nn_off_the_circle(generator: torch.Generator) -> None:
    z, y = torch.randn(2, 7, generator=generator)
    torch.testing.assert_close(
        o3.Legendre(range(8))(z, y), e3nn.o3.Legendre(list(range(8)))(z, y), atol=1e-11, rtol=1e-12
    )


def test_waves(generator: torch.Generator) -> None:
    alpha = torch.randn(3, 4, generator=generator)
    ours, theirs = o3.spherical_harmonics_alpha(5, alpha), e3nn.o3.spherical_harmonics_alpha(5, alpha)
    torch.testing.assert_close(ours, theirs, atol=1e-14, rtol=0)


def test_transforms_of_torch(generator: torch.Generator) -> None:
    module = o3.SphericalHarmonicsAlphaBeta(range(5))
    alpha, beta = torch.randn(2, 3, generator=generator)
    expected = module(alpha, beta)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(alpha, beta), expected)
    torch.testing.assert_close(torch.export.export(module, (alpha, beta)).module()(alpha, beta), expected)
    torch.testing.assert_close(torch.func.vmap(module)(alpha, beta), expected)
    assert torch.autograd.gradcheck(module, (alpha.requires_grad_(), beta.requires_grad_()))
    assert torch.autograd.gradgradcheck(module, (alpha, beta))


def test_refuses_an_unknown_normalization() -> None:
    with pytest.raises(ValueError, match="normalization must be one of integral, component, norm; got 'unit'"):
        o3.SphericalHarmonicsAlphaBeta(1, "unit")

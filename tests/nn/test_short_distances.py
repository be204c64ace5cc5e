"""Transforms by covalent radii and the screened repulsion: values, limits, derivatives."""

from __future__ import annotations

import re

import pytest
import torch
from ase.data import covalent_radii
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from e3frame.nn import ZBL, AgnesiTransform, SoftTransform

RADII = (0.31, 0.76, 1.5)  # Å
SPECIES = torch.tensor([0, 1, 2, 1])
EDGES = torch.tensor([[0, 1, 2, 3, 1, 0], [1, 0, 1, 2, 3, 0]])
BONDS = torch.tensor([RADII[SPECIES[j]] + RADII[SPECIES[i]] for j, i in EDGES.T], dtype=torch.float64)
MODULES = {
    "agnesi": lambda: AgnesiTransform(RADII),
    "other agnesi": lambda: AgnesiTransform(RADII, 1.2, 3.5, 0.7),
    "soft": lambda: SoftTransform(RADII),
    "other soft": lambda: SoftTransform(RADII, 2.5),
}


@pytest.mark.parametrize(("a", "p", "q"), [(1.0805, 4.5791, 0.9183), (1.2, 3.5, 0.7)])
def test_agnesi_is_the_published_one(a: float, p: float, q: float) -> None:
    d = torch.tensor([0.2, 0.7, 1.1, 1.9, 3.0, 6.0])
    s = 2 * d / BONDS
    expected = 1 / (1 + a * s**q / (1 + s ** (q - p)))
    found = AgnesiTransform(RADII, a, p, q)(d, SPECIES, EDGES)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)


def test_agnesi_falls_from_one_to_zero() -> None:
    transform = AgnesiTransform(RADII)
    edges = torch.zeros(2, 1000, dtype=torch.long)
    values = transform(torch.linspace(0.0, 20.0, 1000), SPECIES, edges)
    assert values[0] == 1.0
    assert (values.diff() <= 0).all()
    assert 0.0 < values[-1] < 0.05


def test_soft_is_the_length_itself_except_where_atoms_overlap() -> None:
    low, high = 0.75 * BONDS, 4 / 3 * BONDS
    for alpha in (4.0, 2.5):
        transform = SoftTransform(RADII, alpha)
        d = torch.tensor([0.1, 0.9, 1.2, 1.7, 2.0, 0.5])
        expected = low + (d - low) * 0.5 * (1 + torch.tanh(alpha / (high - low) * (d - (low + high) / 2)))
        torch.testing.assert_close(transform(d, SPECIES, EDGES), expected, rtol=1e-13, atol=0)
        torch.testing.assert_close(transform(20 + BONDS, SPECIES, EDGES), 20 + BONDS)
        torch.testing.assert_close(transform(low, SPECIES, EDGES), low)


@pytest.mark.parametrize("name", MODULES)
def test_transforms_do_not_depend_on_the_direction_of_an_edge(name: str) -> None:
    transform, d = MODULES[name](), torch.tensor([0.2, 0.7, 1.1, 1.9, 3.0, 6.0])
    assert torch.equal(transform(d, SPECIES, EDGES), transform(d, SPECIES, EDGES.flip(0)))


@pytest.mark.parametrize("name", MODULES)
def test_derivatives_of_transforms(name: str) -> None:
    transform, d = MODULES[name](), torch.tensor([0.2, 0.7, 1.1, 1.9, 3.0, 6.0], requires_grad=True)
    assert gradcheck(lambda d: transform(d, SPECIES, EDGES), d)
    assert gradgradcheck(lambda d: transform(d, SPECIES, EDGES), d)
    zero = torch.zeros(6, requires_grad=True)
    (slope,) = torch.autograd.grad(transform(zero, SPECIES, EDGES).sum(), zero, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), zero)
    assert slope.isfinite().all()
    assert curvature.isfinite().all()


@pytest.mark.parametrize("make", [AgnesiTransform, SoftTransform, lambda radii: ZBL([1] * len(radii), radii, 5.0)])
def test_radii_must_be_positive(make) -> None:
    for radii in ((), (0.3, 0.0)):
        message = f"one positive radius for each species is required, got {list(radii)}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            make(radii)


def test_species_must_be_known() -> None:
    with pytest.raises(IndexError, match=r"^indices of 3 species lie between 0 and 2, got 3$"):
        AgnesiTransform(RADII)(torch.ones(1), torch.tensor([3]), torch.zeros(2, 1, dtype=torch.long))


def pair(z_i: int, z_j: int, r: float, **options) -> Tensor:
    """The repulsion of two atoms, half of it at each."""
    radii = [float(covalent_radii[z]) for z in (z_i, z_j)]
    vectors = torch.tensor([[0.0, r, 0.0], [0.0, -r, 0.0]])
    edges = torch.tensor([[0, 1], [1, 0]])
    return ZBL([z_i, z_j], radii, **{"r_max": 6.0} | options)(vectors, torch.arange(2), edges).flatten()


def screened(z_i: int, z_j: int, r: float, prefactor: float = 0.8854, exponent: float = 0.23) -> Tensor:
    """The potential without its envelope, term by term."""
    x = torch.tensor(r / (prefactor * 0.529 / (z_i**exponent + z_j**exponent)))
    phi = 0.1818 * (-3.2 * x).exp() + 0.5099 * (-0.9423 * x).exp()
    phi += 0.2802 * (-0.4028 * x).exp() + 0.02817 * (-0.2016 * x).exp()
    return 14.3996 * z_i * z_j / r * phi


def envelope(x: float, p: int) -> float:
    return 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)


@pytest.mark.parametrize(("z_i", "z_j"), [(1, 1), (1, 8), (6, 7), (26, 79), (92, 118), (118, 118)])
@pytest.mark.parametrize("options", [{}, {"p": 5, "prefactor": 0.4543, "exponent": 0.3}], ids=["ZBL", "MACE"])
def test_repulsion_is_the_published_one(z_i: int, z_j: int, options: dict) -> None:
    end = float(covalent_radii[z_i] + covalent_radii[z_j])
    screening = {key: value for key, value in options.items() if key != "p"}
    for x in (1e-4, 0.01, 0.2, 0.5, 0.9):
        expected = 0.5 * screened(z_i, z_j, x * end, **screening) * envelope(x, options.get("p", 6))
        found = pair(z_i, z_j, x * end, **options)
        torch.testing.assert_close(found, expected.expand(2), rtol=1e-11, atol=1e-13)


def test_repulsion_approaches_that_of_bare_charges() -> None:
    """At 1e-5 Å and, without a pole, at shorter distances; also in float32."""
    for dtype in (torch.float64, torch.float32):
        module = ZBL([118], [float(covalent_radii[118])], 6.0).to(dtype)
        edges = torch.tensor([[0], [1]])
        for r in (1e-5, 1e-8, 0.0):
            energy = module(torch.tensor([[r, 0.0, 0.0]], dtype=dtype), torch.zeros(2, dtype=torch.long), edges)
            assert energy.dtype == dtype
            assert energy[1].item() == pytest.approx(0.5 * 14.3996 * 118**2 / 1e-5, rel=1e-3)
            assert energy[0] == 0


def test_repulsion_ends_at_the_sum_of_the_radii_or_at_r_max() -> None:
    end = float(covalent_radii[55] + covalent_radii[55])
    assert end > 4.8
    assert (pair(55, 55, end - 1e-3) > 0).all()
    assert (pair(55, 55, end) == 0).all()
    assert (pair(55, 55, end + 0.5) == 0).all()
    assert (pair(55, 55, 3.999, r_max=4.0) > 0).all()
    assert (pair(55, 55, 4.0, r_max=4.0) == 0).all()


def test_derivatives_of_the_repulsion(generator: torch.Generator) -> None:
    """Up to the end of the envelope and beyond."""
    module = ZBL([1, 6, 79], RADII, 5.0)
    vectors = torch.randn(6, 3, generator=generator)
    vectors = vectors / vectors.norm(dim=1, keepdim=True) * (BONDS * torch.linspace(0.3, 1.2, 6)).unsqueeze(1)
    vectors.requires_grad_()
    assert gradcheck(lambda v: module(v, SPECIES, EDGES), vectors)
    assert gradgradcheck(lambda v: module(v, SPECIES, EDGES), vectors)


def test_numbers_and_radii_must_match() -> None:
    with pytest.raises(ValueError, match=r"^one radius for each species is required, got 3 for 2$"):
        ZBL([1, 6], RADII, 5.0)

"""Basis functions of one variable: e3nn's values, limits at zero, derivatives, casts, compilers."""

from __future__ import annotations

import math
import re

import pytest
import torch
from e3nn import math as oracle
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from e3frame.math import bessel, soft_one_hot_linspace, soft_unit_step

BASES = ["gaussian", "cosine", "smooth_finite", "fourier", "bessel"]
X = torch.cat([torch.linspace(-1.4, 3.1, 91, dtype=torch.float64), torch.tensor([0.3, 2.0], dtype=torch.float64)])
TINY = torch.tensor([0.0, -0.0, 5e-324, 1e-300, 1e-155, 1e-30, 1e-8, 1e-3, 1.3e-3], dtype=torch.float64)


def derivatives(f, x: Tensor, order: int) -> list[Tensor]:
    x = x.clone().requires_grad_()
    values = [f(x).reshape(len(x), -1).sum(-1)]
    for _ in range(order):
        values.append(torch.autograd.grad(values[-1].sum(), x, create_graph=True)[0])
    return [value.detach() for value in values]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cutoff", [True, False])
@pytest.mark.parametrize("basis", BASES)
def test_every_basis_is_that_of_e3nn(basis: str, cutoff: bool, dtype: torch.dtype):
    # Off the start of the interval, where e3nn's Bessel functions are not numbers.
    x = X[:-2].reshape(7, 13).to(dtype)
    options = {"start": 0.27, "end": 2.0, "number": 5, "basis": basis, "cutoff": cutoff}
    ours, theirs = soft_one_hot_linspace(x, **options), oracle.soft_one_hot_linspace(x, **options)
    assert ours.shape == (7, 13, 5)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13 if dtype == torch.float64 else 4e-6)
    positional = soft_one_hot_linspace(x, 0.27, 2.0, 5, basis, cutoff)
    assert torch.equal(positional, ours)


@pytest.mark.parametrize("basis", ["gaussian", "cosine", "smooth_finite", "fourier"])
@pytest.mark.parametrize("cutoff", [True, False])
def test_squares_sum_to_about_one(basis: str, cutoff: bool):
    x = torch.linspace(0.6, 1.4, 401)
    total = soft_one_hot_linspace(x, 0.0, 2.0, 12, basis, cutoff).square().sum(-1)
    assert total.mean() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("basis", BASES)
def test_cutoff_ends_at_the_interval(basis: str):
    x = torch.tensor([-3.0, -1e-9, 0.0, 2.0, 2.0 + 1e-9, 7.0])
    inside = 1e-3 if basis == "gaussian" else 0.0
    values = soft_one_hot_linspace(x, 0.0, 2.0, 4, basis, cutoff=True)
    assert values[[0, 5]].abs().max() <= inside
    if basis != "gaussian":
        assert values.abs().max() < 1e-15


@pytest.mark.parametrize("cutoff", [True, False])
@pytest.mark.parametrize("basis", BASES)
def test_derivatives(basis: str, cutoff: bool):
    x = torch.tensor([-0.3, 0.11, 0.77, 1.5, 1.96, 2.6], requires_grad=True)

    def f(x):
        return soft_one_hot_linspace(x, 0.0, 2.0, 4, basis, cutoff)

    assert gradcheck(f, x)
    assert gradgradcheck(f, x)
    everywhere = torch.cat([TINY, 2.0 - TINY, torch.linspace(-1, 3, 41)])
    for order, value in enumerate(derivatives(f, everywhere, 4)):
        assert value.isfinite().all(), order
    assert all(value.isfinite().all() for value in derivatives(f, everywhere.float(), 2))


def test_number_of_centres():
    x = torch.tensor([0.2, 1.0])
    assert soft_one_hot_linspace(x, 0.0, 2.0, 1, "gaussian", True).shape == (2, 1)
    assert soft_one_hot_linspace(x, 0.0, 2.0, 1, "fourier", False).shape == (2, 1)
    with pytest.raises(ValueError, match=re.escape("basis 'cosine' with cutoff=False needs number >= 2, got 1")):
        soft_one_hot_linspace(x, 0.0, 2.0, 1, "cosine", False)
    with pytest.raises(ValueError, match=re.escape("basis 'cosine' with cutoff=True needs number >= 1, got 0")):
        soft_one_hot_linspace(x, 0.0, 2.0, 0, "cosine", True)


def test_wrong_options():
    x = torch.zeros(1)
    with pytest.raises(ValueError, match=r"^cutoff must be True or False, got None$"):
        soft_one_hot_linspace(x, 0.0, 1.0, 3, "gaussian")
    names = ", ".join(BASES)
    with pytest.raises(ValueError, match=rf"^basis must be one of {names}; got None$"):
        soft_one_hot_linspace(x, 0.0, 1.0, 3, cutoff=True)
    with pytest.raises(ValueError, match=rf"^basis must be one of {names}; got 'gauss'$"):
        soft_one_hot_linspace(x, 0.0, 1.0, 3, "gauss", True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_soft_unit_step(dtype: torch.dtype):
    x = torch.cat([TINY, -TINY, X]).to(dtype)
    torch.testing.assert_close(
        soft_unit_step(x), oracle.soft_unit_step(x), rtol=1e-6 if dtype.itemsize < 8 else 1e-14, atol=0
    )
    assert not soft_unit_step(x[:9]).any()
    for value in derivatives(soft_unit_step, x, 5):
        assert value.isfinite().all()
    for value in derivatives(soft_unit_step, x[:9], 5):
        assert not value.any()


def test_soft_unit_step_derivatives():
    x = torch.tensor([-1.0, -0.1, 0.02, 0.1, 0.4, 2.0], requires_grad=True)
    assert gradcheck(soft_unit_step, x)
    assert gradgradcheck(soft_unit_step, x)
    torch.testing.assert_close(
        torch.func.vmap(torch.func.grad(soft_unit_step))(x), torch.where(x > 0, soft_unit_step(x) / x**2, 0.0)
    )


def test_bessel_is_that_of_e3nn():
    x = torch.cat([torch.tensor([0.0, 1e-12]), torch.linspace(-1, 4, 50)])
    for n, x_max in ((1, 1.0), (6, 3.7)):
        torch.testing.assert_close(bessel(x, n, x_max), oracle.bessel(x, n, x_max), rtol=0, atol=1e-12)
    torch.testing.assert_close(bessel(x, 3), oracle.bessel(x, 3), rtol=0, atol=1e-12)
    assert bessel(x.float(), 3).dtype == torch.float32
    with pytest.raises(ValueError, match=r"^the number n of Bessel functions must be an integer, got 2.0$"):
        bessel(x, 2.0)


def test_bessel_functions_are_orthonormal():
    c = 3.7
    x = (torch.arange(20_000) + 0.5) * (c / 20_000)
    values = bessel(x, 5, c) * x.unsqueeze(-1)
    torch.testing.assert_close(values.T @ values * (c / 20_000), torch.eye(5), rtol=0, atol=1e-7)


def test_bessel_derivatives_at_zero():
    value, slope, curvature = derivatives(lambda x: bessel(x, 1, 1.0), TINY[:6], 2)
    torch.testing.assert_close(value, torch.full((6,), math.sqrt(2) * math.pi))
    torch.testing.assert_close(slope, torch.zeros(6), rtol=0, atol=1e-12)
    torch.testing.assert_close(curvature, torch.full((6,), -math.sqrt(2) * math.pi**3 / 3))
    x = torch.tensor([0.0, 0.2, 0.9], requires_grad=True)
    assert gradcheck(lambda x: bessel(x, 3), x)
    assert gradgradcheck(lambda x: bessel(x, 3), x)


FUNCTIONS = {
    "bessel": lambda x: bessel(x, 3, 2.0),
    "step": soft_unit_step,
    **{
        f"{basis} {cutoff}": lambda x, basis=basis, cutoff=cutoff: soft_one_hot_linspace(x, 0.0, 2.0, 4, basis, cutoff)
        for basis in BASES
        for cutoff in (True, False)
    },
}


class Block(torch.nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiles_exports_and_maps(name: str):
    f, x = FUNCTIONS[name], torch.linspace(-0.5, 2.5, 8)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(f, fullgraph=True, backend="eager")(x), f(x))
    torch.testing.assert_close(torch.export.export(Block(f), (x,)).module()(x), f(x))
    torch.testing.assert_close(torch.func.vmap(f)(x), f(x))
    _, tangent = torch.func.jvp(f, (x,), (torch.ones_like(x),))
    torch.testing.assert_close(tangent, torch.func.vmap(torch.func.jacrev(f))(x))

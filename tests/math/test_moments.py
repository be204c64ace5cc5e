"""Activations are normalised with e3nn's constants, which are near the exact ones."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from e3nn import math as oracle
from torch.nn import functional as F

from e3frame.math import moment, normalize2mom
from e3frame.nn.activation import FUNCTIONS


def integral(f, n: int) -> float:
    """⟨f(z)ⁿ⟩ by quadrature on unit panels, so that kinks at integers do no harm."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    z = torch.from_numpy((np.arange(-12, 12)[:, None] + 0.5 + 0.5 * nodes).ravel())
    density = torch.from_numpy(np.tile(0.5 * weights, 24)) * torch.exp(-z.square() / 2) / (2 * torch.pi) ** 0.5
    return float(f(z).pow(n) @ density)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_constants_are_those_of_e3nn(name: str):
    f = FUNCTIONS[name]
    ours = normalize2mom(f)
    assert ours.cst == pytest.approx(oracle.normalize2mom(f).cst, rel=1e-14)
    assert ours.cst == pytest.approx(integral(f, 2) ** -0.5, rel=3e-3)
    x = torch.linspace(-3, 3, 13)
    torch.testing.assert_close(ours(x), oracle.normalize2mom(f)(x), rtol=0, atol=1e-15)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float64])
def test_moment_is_that_of_e3nn(n: int, dtype: torch.dtype | None):
    ours, theirs = moment(torch.tanh, n, dtype=dtype), oracle.moment(torch.tanh, n, dtype=dtype)
    assert ours.dtype == theirs.dtype
    assert ours.shape == ()
    assert torch.equal(ours, theirs)


def test_nearly_unit_constants_are_dropped():
    scale = normalize2mom(lambda x: x).cst

    def f(x):
        return scale * x

    x = torch.randn(3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(normalize2mom(f)(x), f(x))


def test_moments_of_modules_follow_their_state():
    act = torch.nn.PReLU(init=0.5).double()
    before = normalize2mom(act).cst
    with torch.no_grad():
        act.weight.fill_(0.9)
    assert normalize2mom(act).cst < before
    assert normalize2mom(act, device="cpu").cst == oracle.normalize2mom(act).cst


def test_moment_is_differentiable():
    a = torch.tensor(0.7, requires_grad=True)
    (slope,) = torch.autograd.grad(moment(lambda z: a * z, 2), a)
    torch.testing.assert_close(slope, 2 * 0.7 * moment(lambda z: z, 2))


def test_module():
    module = normalize2mom(F.silu, dtype=torch.float32)
    assert not module.state_dict()
    x = torch.randn(5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(module, x)
    assert torch.autograd.gradgradcheck(module, x)
    half = copy.deepcopy(module).float()(x.detach().float())
    assert half.dtype == torch.float32
    assert repr(module) == "normalize2mom(silu, cst=1.67918)"
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), module(x))
    torch.testing.assert_close(torch.export.export(module, (x,)).module()(x), module(x))


def test_no_second_moment():
    with pytest.raises(ValueError, match=r"^the second moment of .* must be finite and positive, got 0\.0$"):
        normalize2mom(torch.zeros_like)
    with pytest.raises(ValueError, match=r"got inf"):
        normalize2mom(lambda x: x / 0.0)

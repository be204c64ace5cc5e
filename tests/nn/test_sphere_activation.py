"""Activations of signals on the sphere and on the rotations: e3nn's results, equivariance, derivatives, compilers."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from e3nn import nn as oracle_nn
from e3nn import o3 as oracle

from e3frame import o3
from e3frame.nn import S2Activation, SO3Activation

CLOSE = {"rtol": 0, "atol": 1e-11}

S2_CASES = {
    "vector": ("0e+1o+2e+3o", torch.tanh, 10, {}),
    "pseudovector": ("0e+1e+2e", torch.nn.functional.silu, (12, 9), {"normalization": "norm"}),
    "odd values, odd function": ("0o+1e+2o", torch.tanh, 10, {"lmax_out": 1}),
    "odd values, even function": ("0o+1o+2o", torch.abs, 10, {"lmax_out": 4}),
    "scalar": ("0e", torch.sigmoid, 8, {}),
}


@pytest.mark.parametrize("name", S2_CASES)
def test_s2_is_that_of_e3nn(name: str, generator: torch.Generator):
    irreps, act, res, options = S2_CASES[name]
    ours, theirs = S2Activation(irreps, act, res, **options), oracle_nn.S2Activation(irreps, act, res, **options)
    assert repr(ours) == repr(theirs)
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 5, ours.irreps_in.dim, generator=generator)
    torch.testing.assert_close(ours(x), theirs(x), **CLOSE)


def test_s2_takes_names(generator: torch.Generator):
    x = torch.randn(3, 4, generator=generator)
    assert torch.equal(S2Activation("0e+1o", "tanh", 8)(x), S2Activation("0e+1o", torch.tanh, 8)(x))


@pytest.mark.parametrize(("irreps", "act"), [("0e+1o+2e", "tanh"), ("0o+1e+2o", "tanh"), ("0o+1o+2o", "gaussian")])
def test_s2_is_equivariant_on_a_fine_grid(irreps: str, act: str, assert_equivariant, generator: torch.Generator):
    module = S2Activation(irreps, act, 60)
    x = 0.3 * torch.randn(4, module.irreps_in.dim, generator=generator)
    assert_equivariant(module, module.irreps_in, module.irreps_out, x)


def test_s2_turns_its_grid(generator: torch.Generator):
    x = 0.3 * torch.randn(4, 9, generator=generator)
    still, turning = (S2Activation("0e+1o+2e", "tanh", res, random_rot=rot) for res, rot in ((40, False), (40, True)))
    torch.testing.assert_close(turning(x), still(x), rtol=0, atol=1e-8)
    coarse = S2Activation("0e+1o+2e", "relu", 6, random_rot=True)
    assert (coarse(x) - coarse(x)).abs().max() > 1e-6


@pytest.mark.parametrize(
    ("irreps", "act", "message"),
    [
        ("0e+2e", "tanh", "a signal on the sphere has one irrep of each degree 0, 1, ... lmax; got 1x0e+1x2e"),
        ("2x0e", "tanh", "a signal on the sphere has one irrep of each degree 0, 1, ... lmax; got 2x0e"),
        ("", "tanh", "a signal on the sphere has one irrep of each degree 0, 1, ... lmax; got none"),
        (
            "0e+1o+2o",
            "tanh",
            "the parities of a signal on the sphere are all equal, or alternate with the degree; got 1x0e+1x1o+1x2o",
        ),
        ("0o+1o", "silu", "a signal with odd values (1x0o+1x1o) needs a function that is odd or even"),
    ],
)
def test_wrong_signals(irreps: str, act: str, message: str):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        S2Activation(irreps, act, 8)


def test_wrong_shapes():
    with pytest.raises(ValueError, match=r"^the last axis must be 4 \(1x0e\+1x1o\), got 3$"):
        S2Activation("0e+1o", "tanh", 8)(torch.zeros(2, 3))


@pytest.mark.parametrize(("lmax_in", "lmax_out", "options"), [(1, 2, {}), (2, 1, {"aspect_ratio": 1})])
def test_so3_is_that_of_e3nn(lmax_in: int, lmax_out: int, options: dict, generator: torch.Generator):
    ours, theirs = (nn(lmax_in, lmax_out, torch.tanh, 3, **options) for nn in (SO3Activation, oracle_nn.SO3Activation))
    assert repr(ours) == repr(theirs)
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(4, sum((2 * degree + 1) ** 2 for degree in range(lmax_in + 1)), generator=generator)
    torch.testing.assert_close(ours(x), theirs(x), **CLOSE)


def test_so3_is_equivariant(generator: torch.Generator):
    module = SO3Activation(1, 2, "tanh", 8)
    irreps_in, irreps_out = (o3.Irreps([(2 * l + 1, (l, 1)) for l in range(m + 1)]) for m in (1, 2))  # noqa: E741
    x = 0.3 * torch.randn(4, irreps_in.dim, generator=generator)
    R = oracle.angles_to_matrix(*map(torch.tensor, (0.7, 1.9, -2.3)))
    before, after = irreps_in.D_from_matrix(R), irreps_out.D_from_matrix(R)
    torch.testing.assert_close(module(x @ before.T), module(x) @ after.T, rtol=0, atol=1e-8)


MODULES = {
    "s2": (lambda: S2Activation("0e+1o+2e", "tanh", 8), 9),
    "so3": (lambda: SO3Activation(1, 1, "tanh", 2), 10),
}


@pytest.mark.parametrize("name", MODULES)
def test_copies_casts_and_differentiates(name: str, generator: torch.Generator):
    make, dim = MODULES[name]
    module = make()
    x = torch.randn(2, dim, generator=generator, requires_grad=True)
    out = copy.deepcopy(module).float()(x.float())
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), module(x), rtol=1e-4, atol=1e-5)
    assert torch.autograd.gradcheck(module, x)
    assert torch.autograd.gradgradcheck(module, x[:1].detach().requires_grad_())

"""The multilayer perceptron."""

from __future__ import annotations

import copy

import pytest
import torch
from e3nn import nn as oracle_nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from e3frame.algebra.interaction import mlp_numel
from e3frame.nn import FullyConnectedNet


@pytest.mark.parametrize(
    ("hs", "act", "options"),
    [
        ([3, 16, 5], F.silu, {}),
        ([3, 16, 8, 5], torch.tanh, {"variance_in": 2.0, "variance_out": 3.0}),
        ([3, 16, 5], torch.tanh, {"out_act": True, "variance_out": 2.0}),
        ([3, 5], None, {"variance_in": 0.5}),
    ],
)
def test_equals_e3nn(hs, act, options, generator: torch.Generator):
    ours, theirs = FullyConnectedNet(hs, act, **options), oracle_nn.FullyConnectedNet(hs, act, **options)
    theirs.load_state_dict(ours.state_dict())
    assert [*ours.state_dict()] == [f"layer{i}.weight" for i in range(len(hs) - 1)]
    x = torch.randn(7, hs[0], generator=generator)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("act", ["silu", "tanh", "relu", None])
def test_unit_variance_at_initialisation(act: str | None, generator: torch.Generator):
    net = FullyConnectedNet([16, 256, 256, 64], act, variance_in=4.0, variance_out=0.25)
    out = net(2 * torch.randn(3000, 16, generator=generator))
    assert out.square().mean().item() == pytest.approx(0.25, rel=0.2)


def test_zero_in_zero_out():
    assert not FullyConnectedNet([8, 16, 4], "silu")(torch.zeros(3, 8)).any()


def test_bias(generator: torch.Generator):
    hs = [3, 4, 2]
    net, plain = FullyConnectedNet(hs, "silu", bias=True), FullyConnectedNet(hs, "silu")
    plain.load_state_dict(net.state_dict(), strict=False)
    x = torch.randn(5, 3, generator=generator)
    assert torch.equal(net(x), plain(x))
    net.layer1.bias.data.fill_(2.0)
    torch.testing.assert_close(net(x), plain(x) + 2.0)
    for bias, module in ((True, net), (False, plain)):
        assert mlp_numel(hs, bias) == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("bias", [False, True])
def test_derivatives_casts_copies(bias: bool, generator: torch.Generator):
    net = FullyConnectedNet([3, 4, 2], "silu", bias=bias, out_act=True)
    x = torch.randn(2, 3, generator=generator, requires_grad=True)
    inputs = (x, *net.parameters())
    assert gradcheck(lambda x, *_: net(x), inputs)
    assert gradgradcheck(lambda x, *_: net(x), inputs)
    out = copy.deepcopy(net).float()(x.float())
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), net(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("hs", [[3], [3, 0, 2]])
def test_errors(hs: list[int]):
    with pytest.raises(
        ValueError, match=rf"^two or more positive sizes are required, got \[{', '.join(map(str, hs))}\]$"
    ):
        FullyConnectedNet(hs, "silu")

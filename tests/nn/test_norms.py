"""Norm activation, dropout, layer, RMS and batch normalization."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from e3nn import nn as oracle_nn
from e3nn import o3 as oracle
from torch.autograd import gradcheck, gradgradcheck

from e3frame.algebra.irreps import Irreps
from e3frame.nn import BatchNorm, Dropout, LayerNorm, NormActivation, RMSNorm

IRREPS = Irreps("3x0e+2x0o+2x1o+0x1e+4x0e+2x2e+1x1o")


@pytest.fixture
def x(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(6, IRREPS.dim, generator=generator)


# ---------------------------------------------------------------------------------------------------- NormActivation
NORM_OPTIONS = [{}, {"epsilon": 0.7}, {"bias": True}, {"normalize": False}, {"normalize": False, "bias": True}]


@pytest.mark.parametrize("options", NORM_OPTIONS[:3])
def test_norm_activation_equals_e3nn(options: dict, x: torch.Tensor):
    ours = NormActivation(IRREPS, "sigmoid", **options)
    theirs = oracle_nn.NormActivation(oracle.Irreps(str(IRREPS)), torch.sigmoid, **{"epsilon": 1e-8, **options})
    if "bias" in options:
        values = torch.linspace(-1, 1, IRREPS.num_irreps)
        ours.biases.data.copy_(values)
        theirs.biases.data.copy_(values)
        assert [*ours.state_dict()] == ["biases"]
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", NORM_OPTIONS)
def test_norm_activation_formula(options: dict):
    module = NormActivation("1x1o", "tanh", **options)
    out = module(torch.tensor([[2.0, 0, 0], [0, 3.0, 4.0]]))
    norm = torch.tensor([2.0, 5.0])
    expected = torch.tanh(norm) if options.get("normalize", True) else norm * torch.tanh(norm)
    torch.testing.assert_close(out.norm(dim=-1), expected)


@pytest.mark.parametrize("options", NORM_OPTIONS)
def test_norm_activation_is_equivariant(options: dict, assert_equivariant, x: torch.Tensor):
    assert_equivariant(NormActivation(IRREPS, "silu", **options), IRREPS, IRREPS, x)


@pytest.mark.parametrize("options", NORM_OPTIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_norm_activation_near_zero(options: dict, dtype: torch.dtype):
    module = NormActivation("2x0e+2x1o", "sigmoid", **options).to(dtype)
    x = torch.zeros(3, 8, dtype=dtype)
    x[1] = 1e-12
    x[2, 0] = 1.0
    x.requires_grad_()
    (first,) = torch.autograd.grad(module(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert first.dtype == dtype
    assert torch.isfinite(first).all()
    assert torch.isfinite(second).all()
    assert not module(x)[0].any()


@pytest.mark.parametrize("options", NORM_OPTIONS)
def test_norm_activation_derivatives(options: dict, x: torch.Tensor):
    module = NormActivation(IRREPS, "silu", **options)
    inputs = (x[:2].clone().requires_grad_(), *module.parameters())
    assert gradcheck(lambda x, *_: module(x), inputs)
    assert gradgradcheck(lambda x, *_: module(x), inputs)


def test_norm_activation_errors():
    with pytest.raises(ValueError, match=r"^epsilon needs normalize=True$"):
        NormActivation("1x1o", "silu", normalize=False, epsilon=1e-3)
    with pytest.raises(ValueError, match=r"^epsilon must be positive, got 0.0$"):
        NormActivation("1x1o", "silu", epsilon=0.0)
    with pytest.raises(ValueError, match=r"^unknown activation 'sill'; did you mean silu\?$"):
        NormActivation("1x1o", "sill")


# ----------------------------------------------------------------------------------------------------------- Dropout
def test_dropout_drops_whole_irreps():
    module = Dropout(IRREPS, 0.4)
    out = module(torch.ones(2000, IRREPS.dim))
    kept = []
    for piece, (mul, ir) in zip(IRREPS.slices(), IRREPS, strict=True):
        if mul:
            block = out[:, piece].reshape(2000, mul, ir.dim)
            assert (block == block[:, :, :1]).all()
            kept.append(block[..., 0])
    kept = torch.cat(kept, dim=1)
    torch.testing.assert_close(kept.unique(), torch.tensor([0.0, 1 / 0.6]))
    assert (kept > 0).double().mean().item() == pytest.approx(0.6, abs=0.015)
    assert out.mean().item() == pytest.approx(1.0, abs=0.03)
    # Copies of one irrep fall independently.
    assert abs(torch.corrcoef(kept.T) - torch.eye(kept.shape[1])).max() < 0.12


def test_dropout_shares_its_mask_within_an_entry():
    out = Dropout("4x1o", 0.5)(torch.ones(8, 5, 12))
    assert (out == out[:, :1]).all()


def test_dropout_limits(x: torch.Tensor):
    module = Dropout(IRREPS, 0.5)
    assert module.eval()(x) is x
    assert Dropout(IRREPS, 0.0)(x) is x
    assert not Dropout(IRREPS, 1.0)(x).any()
    assert not module.state_dict()
    out = copy.deepcopy(module).train().float()(x.float())
    assert out.dtype == torch.float32


def test_dropout_is_equivariant(assert_equivariant, x: torch.Tensor):
    module = Dropout(IRREPS, 0.5)

    def fixed(x: torch.Tensor) -> torch.Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return module(x)

    assert_equivariant(fixed, IRREPS, IRREPS, x)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_dropout_errors(p: float):
    with pytest.raises(ValueError, match=rf"^p must be a probability in \[0, 1\], got {p}$"):
        Dropout("1x0e", p)


# --------------------------------------------------------------------------------------------------------- LayerNorm
LAYER_OPTIONS = [{}, {"affine": False}, {"center": False}, {"eps": 0.1}]


def test_layer_norm_of_scalars_is_that_of_torch(generator: torch.Generator):
    ours, theirs = LayerNorm("7x0e"), torch.nn.LayerNorm(7)
    state = {"weight": torch.rand(7, generator=generator), "bias": torch.rand(7, generator=generator)}
    ours.load_state_dict(state)
    theirs.load_state_dict(state)
    x = torch.randn(5, 2, 7, generator=generator)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)


def test_layer_norm_statistics(x: torch.Tensor):
    out = LayerNorm(IRREPS, eps=1e-12)(x * 3 + 1)
    for ir in {ir for mul, ir in IRREPS if mul}:
        terms = [
            out[:, s].unflatten(-1, m)
            for s, m in zip(IRREPS.slices(), map(tuple, [(m, i.dim) for m, i in IRREPS]), strict=True)
        ]
        own = torch.cat([t for t, (mul, other) in zip(terms, IRREPS, strict=True) if other == ir and mul], dim=1)
        torch.testing.assert_close(own.square().mean((1, 2)), torch.ones(6), rtol=0, atol=1e-9)
        if ir.l == 0:
            torch.testing.assert_close(own.mean((1, 2)), torch.zeros(6), rtol=0, atol=1e-12)


def test_layer_norm_affine(x: torch.Tensor, generator: torch.Generator):
    module, plain = LayerNorm(IRREPS), LayerNorm(IRREPS, affine=False)
    assert {name: p.shape for name, p in module.named_parameters()} == {"weight": (14,), "bias": (7,)}
    assert not [*plain.parameters()]
    torch.testing.assert_close(module(x), plain(x))
    weight = torch.rand(14, generator=generator)
    module.weight.data.copy_(weight)
    module.bias.data.copy_(torch.arange(7.0))
    repeats = torch.tensor([ir.dim for mul, ir in IRREPS for _ in range(mul)])
    expected = plain(x) * weight.repeat_interleave(repeats)
    expected[:, :3] += torch.arange(3.0)
    start = IRREPS.slices()[4].start
    expected[:, start : start + 4] += torch.arange(3.0, 7.0)
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize("options", LAYER_OPTIONS)
def test_layer_norm_is_equivariant(options: dict, assert_equivariant, x: torch.Tensor, generator: torch.Generator):
    module = LayerNorm(IRREPS, **options)
    for p in module.parameters():
        p.data.normal_(generator=generator)
    assert_equivariant(module, IRREPS, IRREPS, x)


@pytest.mark.parametrize("options", LAYER_OPTIONS)
def test_layer_norm_derivatives(options: dict, x: torch.Tensor):
    module = LayerNorm(IRREPS, **options)
    inputs = (x[:2].clone().requires_grad_(), *module.parameters())
    assert gradcheck(lambda x, *_: module(x), inputs)
    assert gradgradcheck(lambda x, *_: module(x), inputs)
    zero = torch.zeros(2, IRREPS.dim, requires_grad=True)
    (first,) = torch.autograd.grad(module(zero).square().sum(), zero, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum() + first.sum(), zero)
    assert torch.isfinite(first).all()
    assert torch.isfinite(second).all()


def test_layer_norm_casts_and_copies(x: torch.Tensor):
    module = LayerNorm(IRREPS)
    out = copy.deepcopy(module).float()(x.float())
    torch.testing.assert_close(out.double(), module(x), rtol=1e-4, atol=1e-5)
    assert LayerNorm("")(torch.zeros(2, 0)).shape == (2, 0)


def test_layer_norm_errors():
    message = "1x0e+2x1o has a single 0e, which centring makes zero; use more of them, or center=False"
    with pytest.raises(ValueError, match=re.escape(message)):
        LayerNorm("0e+2x1o")
    with pytest.raises(ValueError, match=r"^eps must be positive, got 0$"):
        LayerNorm("2x1o", eps=0)
    assert LayerNorm("0e+1o", center=False)(torch.ones(1, 4)).shape == (1, 4)


# ----------------------------------------------------------------------------------------------------------- RMSNorm
RMS_OPTIONS = [{}, {"affine": False}, {"eps": 0.1}]


def test_rms_norm_formula(x: torch.Tensor, generator: torch.Generator):
    """Irrep by irrep; without means, and with the ratios between irreps as they were."""
    module = RMSNorm(IRREPS, eps=1e-3)
    module.weight.data = torch.rand(IRREPS.num_irreps, generator=generator)
    assert {name: p.shape for name, p in module.named_parameters()} == {"weight": (IRREPS.num_irreps,)}
    dims = [ir.dim for mul, ir in IRREPS for _ in range(mul)]
    copies = x.split(dims, dim=-1)
    mean_square = sum(copy.square().mean(-1) for copy in copies) / len(copies)
    expected = [
        w * copy / (mean_square + 1e-3).sqrt().unsqueeze(-1) for w, copy in zip(module.weight, copies, strict=True)
    ]
    torch.testing.assert_close(module(x), torch.cat(expected, dim=-1), rtol=0, atol=1e-12)


def test_rms_norm_of_scalars_is_that_of_torch(generator: torch.Generator):
    ours, theirs = RMSNorm("7x0e", eps=1e-6), torch.nn.RMSNorm(7, eps=1e-6)
    theirs.weight.data = ours.weight.data = torch.rand(7, generator=generator)
    x = torch.randn(5, 2, 7, generator=generator)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e3])
def test_rms_norm_does_not_see_the_scale(scale: float, x: torch.Tensor):
    module = RMSNorm(IRREPS, eps=1e-15)
    torch.testing.assert_close(module(scale * x), module(x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("options", RMS_OPTIONS)
def test_rms_norm_is_equivariant(options: dict, assert_equivariant, x: torch.Tensor, generator: torch.Generator):
    module = RMSNorm(IRREPS, **options)
    for p in module.parameters():
        p.data.normal_(generator=generator)
    assert_equivariant(module, IRREPS, IRREPS, x)


@pytest.mark.parametrize("options", RMS_OPTIONS)
def test_rms_norm_derivatives(options: dict, x: torch.Tensor):
    module = RMSNorm(IRREPS, **options)
    inputs = (x[:2].clone().requires_grad_(), *module.parameters())
    assert gradcheck(lambda x, *_: module(x), inputs)
    assert gradgradcheck(lambda x, *_: module(x), inputs)


def test_rms_norm_at_zero():
    """x / √ε to second order: the slope is 1/√ε and the curvature is zero."""
    module = RMSNorm(IRREPS, eps=0.25)
    zero = torch.zeros(2, IRREPS.dim, requires_grad=True)
    assert not module(zero).any()
    (first,) = torch.autograd.grad(module(zero).sum(), zero, create_graph=True)
    torch.testing.assert_close(first, torch.full_like(first, 2.0))
    (second,) = torch.autograd.grad(first.square().sum(), zero)
    assert not second.any()


def test_rms_norm_errors():
    with pytest.raises(ValueError, match=r"^eps must be positive, got 0$"):
        RMSNorm("2x1o", eps=0)


# --------------------------------------------------------------------------------------------------------- BatchNorm
BATCH_OPTIONS = [
    {},
    {"affine": False},
    {"include_bias": False},
    {"instance": True},
    {"reduce": "max"},
    {"normalization": "norm"},
    {"momentum": 0.5, "eps": 1e-2},
    {"instance": True, "reduce": "max", "normalization": "norm"},
]


@pytest.mark.parametrize("options", BATCH_OPTIONS)
def test_batch_norm_equals_e3nn(options: dict, generator: torch.Generator):
    # The oracle does not take empty terms, which change nothing.
    ours, theirs = (
        BatchNorm(IRREPS, **options),
        oracle_nn.BatchNorm(str(IRREPS.remove_zero_multiplicities()), **options),
    )
    for name, p in ours.named_parameters():
        p.data.normal_(generator=generator)
        theirs.get_parameter(name).data.copy_(p.data)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    for _ in range(3):
        x = torch.randn(5, 4, IRREPS.dim, generator=generator) * 2 + 1
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-11)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=0, atol=1e-11)
    flat = torch.randn(5, IRREPS.dim, generator=generator)
    torch.testing.assert_close(ours(flat), theirs(flat), rtol=0, atol=1e-11)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", BATCH_OPTIONS)
def test_batch_norm_is_equivariant(options: dict, training: bool, assert_equivariant, generator: torch.Generator):
    module = BatchNorm(IRREPS, **options)
    module(torch.randn(20, 2, IRREPS.dim, generator=generator))
    module.train(training)
    assert_equivariant(module, IRREPS, IRREPS, torch.randn(6, 3, IRREPS.dim, generator=generator))


def test_batch_norm_casts_copies_and_saves(x: torch.Tensor):
    module = BatchNorm(IRREPS)
    module(x)
    other = BatchNorm(IRREPS)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other.eval()(x), copy.deepcopy(module).eval()(x))
    assert module.float()(x.float()).dtype == torch.float32
    leaf = x.clone().requires_grad_()
    assert gradcheck(BatchNorm(IRREPS), leaf)


def test_batch_norm_errors():
    with pytest.raises(ValueError, match=r"^reduce must be 'mean' or 'max', got 'sum'$"):
        BatchNorm("1x0e", reduce="sum")
    with pytest.raises(ValueError, match=r"^normalization must be 'component' or 'norm', got 'none'$"):
        BatchNorm("1x0e", normalization="none")
    with pytest.raises(AssertionError, match=r"^input must have a last dimension of 2, got \(2, 3\)$"):
        BatchNorm("2x0e")(torch.ones(2, 3))


@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("instance", [False, True])
@pytest.mark.parametrize("shape", [(0, 7), (0, 3, 7), (4, 0, 7), (4, 2, 0, 7)])
def test_batch_norm_of_no_samples(shape: tuple[int, ...], instance: bool, reduce: str) -> None:
    """Averages of nothing are not learned; the next batch finds the averages that there were."""
    norm = BatchNorm("2x0e + 1x0o + 1o + 0e", reduce=reduce, instance=instance)
    before = copy.deepcopy(norm.state_dict())
    for training in (True, False):
        x = torch.zeros(shape, requires_grad=True)
        out = norm.train(training)(x)
        assert out.shape == shape
        slopes = torch.autograd.grad(out.sum(), [x, *norm.parameters()], allow_unused=True)
        assert all(slope is None or (slope == 0).all() for slope in slopes)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    out = norm.train()(torch.randn(5, 3, 7))
    assert out.isfinite().all()
    assert all(value.isfinite().all() for value in norm.state_dict().values())

"""Signals on grids of the sphere and of SO(3): e3nn's values and buffers, exact quadrature, exact casts."""

from __future__ import annotations

import copy
from collections.abc import Callable

import e3nn.o3
import pytest
import torch
from torch import Tensor, nn

from e3frame import o3
from e3frame.o3.s2grid import quadrature_weights

CLOSE = {"atol": 1e-12, "rtol": 0}
# (lmax, res): given and left out, an odd number of angles alpha (which takes the FFT) and an even one.
GRIDS = [(None, 10), (3, None), (3, (12, 11)), (2, (12, 8)), (5, 20), (None, (None, 9)), (None, (12, None)), (0, 2)]
NORMALIZATIONS = ["component", "norm", "integral"]
MODULES: dict[str, Callable[[], nn.Module]] = {
    "to": lambda: o3.ToS2Grid(3, (10, 9)),
    "to without fft": lambda: o3.ToS2Grid(3, (10, 8)),
    "from": lambda: o3.FromS2Grid((10, 9), 3),
    "from without fft": lambda: o3.FromS2Grid((10, 8), 3),
    "so3": lambda: _ThereAndBack(o3.SO3Grid(2, 3)),
}


class _ThereAndBack(nn.Module):
    def __init__(self, grid: o3.SO3Grid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        return self.grid.from_grid(self.grid.to_grid(x).square())


def input_of(name: str, generator: torch.Generator) -> Tensor:
    shape = {"to": (16,), "to without fft": (16,), "from": (10, 9), "from without fft": (10, 8), "so3": (35,)}[name]
    return torch.randn(2, *shape, generator=generator)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize(("lmax", "res"), GRIDS)
def test_s2_is_that_of_e3nn(
    lmax: int | None, res: int | tuple | None, normalization: str, generator: torch.Generator
) -> None:
    to, back = o3.ToS2Grid(lmax, res, normalization), o3.FromS2Grid(res, lmax, normalization)
    their_to = e3nn.o3.ToS2Grid(lmax, res, normalization)
    their_back = e3nn.o3.FromS2Grid(res, lmax, normalization)
    assert (repr(to), repr(back)) == (repr(their_to), repr(their_back))
    for ours, theirs in ((to, their_to), (back, their_back)):
        assert list(ours.state_dict()) == list(theirs.state_dict())
        ours.load_state_dict(theirs.state_dict())
        torch.testing.assert_close(ours.grid, theirs.grid, **CLOSE)
    x = torch.randn(2, 3, (to.lmax + 1) ** 2, generator=generator)
    signal = to(x)
    torch.testing.assert_close(signal, their_to(x), **CLOSE)
    torch.testing.assert_close(back(signal), their_back(signal), **CLOSE)
    if to.res_alpha > 2 * to.lmax:
        torch.testing.assert_close(back(signal), x, **CLOSE)


def test_signals_are_sums_of_harmonics(generator: torch.Generator) -> None:
    x = torch.randn(144, generator=generator)
    to = o3.ToS2Grid(11, (24, 25), "integral")
    expected = o3.spherical_harmonics(range(12), to.grid, True, "integral") @ x
    torch.testing.assert_close(to(x), expected, **CLOSE)


def test_custom_normalization_and_lmax_in(generator: torch.Generator) -> None:
    n = torch.rand(4, generator=generator) + 0.5
    x = torch.randn(16, generator=generator)
    for name, arguments in (("ToS2Grid", (3, 10)), ("FromS2Grid", (10, 3))):
        ours, theirs = (getattr(library, name)(*arguments, normalization=n) for library in (o3, e3nn.o3))
        torch.testing.assert_close(ours.shb, theirs.shb, **CLOSE)
    signal = o3.ToS2Grid(3, 10)(x)
    torch.testing.assert_close(o3.FromS2Grid(10, 1, lmax_in=3)(signal), x[:4], **CLOSE)


@pytest.mark.parametrize("res", [2, 8, 24])
def test_quadrature_is_exact(res: int) -> None:
    betas, _ = o3.s2_grid(res, 1)
    moments = torch.stack([quadrature_weights(res) @ betas.cos() ** n for n in range(res)])
    expected = torch.tensor([0.0 if n % 2 else 1 / (n + 1) for n in range(res)])
    torch.testing.assert_close(moments, expected, atol=1e-14, rtol=0)


def test_factors_are_those_of_e3nn() -> None:
    for ours, theirs in zip(
        o3.spherical_harmonics_s2_grid(8, 20, 17), e3nn.o3.spherical_harmonics_s2_grid(8, 20, 17), strict=True
    ):
        torch.testing.assert_close(ours, theirs, **CLOSE)
    assert o3.s2_grid(4, 5, dtype=torch.float32)[0].dtype == torch.float32


def test_fourier_transforms(generator: torch.Generator) -> None:
    *_, S = o3.spherical_harmonics_s2_grid(8, 18, 21)
    x, y = torch.randn(2, 21, generator=generator), torch.randn(2, 17, generator=generator)
    torch.testing.assert_close(o3.rfft(x, 8), x @ S, **CLOSE)
    torch.testing.assert_close(o3.irfft(y, 21), y @ S.T, **CLOSE)
    torch.testing.assert_close(o3.irfft(y, 21), e3nn.o3.irfft(y, 21), **CLOSE)
    torch.testing.assert_close(o3.rfft(x, 8), e3nn.o3.rfft(x, 8), **CLOSE)


def test_so3_is_that_of_e3nn(generator: torch.Generator) -> None:
    ours, theirs = o3.SO3Grid(3, 4), e3nn.o3.SO3Grid(3, 4)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 84, generator=generator)
    torch.testing.assert_close(ours.to_grid(x), theirs.to_grid(x), **CLOSE)
    torch.testing.assert_close(ours.from_grid(ours.to_grid(x)), x, **CLOSE)
    assert (ours.res_alpha, ours.res_beta, ours.res_gamma) == (16, 8, 16)
    assert repr(ours) == "SO3Grid(lmax=3 res=16x8x16)"
    assert o3.SO3Grid(1, 2, aspect_ratio=1.5).D.shape == e3nn.o3.SO3Grid(1, 2, aspect_ratio=1.5).D.shape


@pytest.mark.parametrize("name", MODULES)
def test_casts_are_exact(name: str) -> None:
    module = MODULES[name]()
    exact = module.state_dict()
    again = copy.deepcopy(module).float().double().state_dict()
    for key in exact:
        torch.testing.assert_close(again[key], exact[key], atol=0, rtol=0)
    loaded = MODULES[name]()
    loaded.load_state_dict(module.float().state_dict())
    assert all(torch.equal(loaded.state_dict()[key], again[key]) for key in again)
    with torch.device("meta"):
        empty = MODULES[name]()
    filled = empty.to_empty(device="cpu").state_dict()
    assert all(torch.equal(filled[key], again[key]) for key in again)


def test_foreign_constants_are_refused() -> None:
    state = o3.ToS2Grid(3, 10, "norm").state_dict()
    with pytest.raises(RuntimeError, match=r"shb differs from that of ToS2Grid.*: it was saved with other options"):
        o3.ToS2Grid(3, 10, "component").load_state_dict(state)


@pytest.mark.parametrize("name", MODULES)
def test_transforms_of_torch(name: str, generator: torch.Generator) -> None:
    module, x = MODULES[name](), input_of(name, generator)
    expected = module(x)
    torch.testing.assert_close(torch.compile(module, fullgraph=True, backend="aot_eager")(x), expected, **CLOSE)
    torch.testing.assert_close(torch.export.export(module, (x,)).module()(x), expected, **CLOSE)
    torch.testing.assert_close(torch.func.vmap(module)(x), expected, **CLOSE)
    value, tangent = torch.func.jvp(module, (x,), (x,))
    torch.testing.assert_close(value, expected, **CLOSE)
    torch.testing.assert_close(tangent, (2 if name == "so3" else 1) * expected, **CLOSE)
    assert torch.autograd.gradgradcheck(module, (x.requires_grad_(),), fast_mode=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: o3.ToS2Grid(), "lmax or res is required"),
        (lambda: o3.ToS2Grid(3, 7), r"res_beta must be even and at least 2 \(lmax \+ 1\) = 8, got 7"),
        (lambda: o3.FromS2Grid((6, 9), 3), "at least .* = 8, got 6"),
        (lambda: o3.ToS2Grid(3, normalization="none"), "normalization must be one of norm, component, integral"),
        (lambda: o3.ToS2Grid(3, normalization=torch.ones(3)), r"normalization must have shape \(4,\), got \(3,\)"),
        (lambda: o3.irfft(torch.ones(5), 6), "res must be odd and at least 5.*; got 6"),
        (lambda: o3.irfft(torch.ones(5), 3), "res must be odd and at least 5.*; got 3"),
        (lambda: o3.SO3Grid(1, 2, normalization="norm"), "normalization must be one of component"),
        (lambda: quadrature_weights(3), "res_beta must be even and positive, got 3"),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

"""Native activations, gates, harmonics and radial functions are the plain torch ones, to the third derivative."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from support.native import AVAILABLE, assert_same, needs_native
from torch import Tensor
from torch import nn as torch_nn

from e3frame import kernels, nn, o3
from e3frame.kernels.native import BACKEND
from e3frame.kernels.native.pointwise import KINDS, activate, write_act

pytestmark = needs_native

PLAIN = {"identity": lambda x: x, "sigmoid": torch.sigmoid, "silu": torch_nn.functional.silu}


def plain(module: torch_nn.Module) -> Callable[[Tensor], Tensor]:
    """The module on the reference backend."""

    def call(x: Tensor) -> Tensor:
        with kernels.use("reference"):
            return module(x)

    return call


@pytest.mark.parametrize("isa", AVAILABLE)
@pytest.mark.parametrize("kind", KINDS)
def test_activations(kind: str, isa: int, use_instruction_set: Callable[[int], None]) -> None:
    use_instruction_set(isa)
    text = write_act(kind, 1.7, -0.6)
    for shape in ((0,), (1,), (3, 7), (5, 0), (2, 3, 9)):
        x = 5 * torch.randn(shape, dtype=torch.float64)
        assert_same(lambda x: activate(x, text), lambda x: -0.6 * PLAIN[kind](1.7 * x), (x,))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_activations_far_out(kind: str, dtype: torch.dtype) -> None:
    x = torch.tensor([-1e30, -1000.0, -90.0, -30.0, -1e-30, 0.0, 1e-30, 30.0, 90.0, 1000.0, 1e30], dtype=dtype)
    out, expected = activate(x, write_act(kind, 1.0, 1.0)), PLAIN[kind](x)
    torch.testing.assert_close(
        out, expected, rtol=4e-7 if dtype == torch.float32 else 1e-15, atol=1e-7 * (x.min() != 0)
    )
    nan = torch.tensor([torch.nan, 1.0], dtype=dtype)
    assert activate(nan, write_act(kind, 1.0, 1.0)).isnan().tolist() == [True, False]


GATES = {
    "usual": ("33x0e", ["silu"], "20x0e", ["sigmoid"], "17x1o + 3x2e"),
    "several": ("3x0e + 2x0e + 1x0e", ["silu", None, "sigmoid"], "2x0e + 3x0e", ["sigmoid", "silu"], "1x1o + 4x2e"),
    "odd": ("2x0o + 3x0e", [None, "silu"], "3x0o + 2x0e", [None, "sigmoid"], "2x1o + 3x1e"),
    "scalars": ("5x0e", ["silu"], "", [], ""),
    "gated": ("", [], "3x0e", ["identity"], "3x3o"),
}


@pytest.mark.parametrize("isa", AVAILABLE)
@pytest.mark.parametrize("name", GATES)
def test_gates(name: str, isa: int, use_instruction_set: Callable[[int], None]) -> None:
    use_instruction_set(isa)
    gate = nn.Gate(*GATES[name])
    assert BACKEND.runs("gate", gate._activated)
    for shape in ((), (0,), (1,), (2, 5)):
        assert_same(gate, plain(gate), (torch.randn(*shape, gate.irreps_in.dim, dtype=torch.float64),))


VECTORS = torch.tensor(
    [
        [0, 0, 0],
        [0, 0, 1],
        [0, -2, 0],
        [1e-60, 0, 0],
        [1e-3, 2e-3, -1e-3],
        [3, 4, -5],
        [1e5, 2e5, 3e4],
        [0.1, 0.2, 0.3],
    ],
    dtype=torch.float64,
)


@pytest.mark.parametrize("normalization", ["integral", "component", "norm"])
@pytest.mark.parametrize("degrees", [[0], [1], [2, 0], [3, 1, 3], [0, 1, 2, 3, 4], [6]], ids=str)
def test_harmonics_of_directions(degrees: list[int], normalization: str) -> None:
    """Derivatives count relative to 1 / |v|^n: each length has a comparison of its own."""
    module = o3.SphericalHarmonics(degrees, True, normalization)
    for v in (*VECTORS.split(1), torch.randn(0, 3, dtype=torch.float64), torch.randn(2, 11, 3, dtype=torch.float64)):
        assert_same(module, plain(module), (v,))


@pytest.mark.parametrize("isa", AVAILABLE)
@pytest.mark.parametrize("normalize", [False, True])
def test_harmonics_on_every_instruction_set(
    normalize: bool, isa: int, use_instruction_set: Callable[[int], None]
) -> None:
    use_instruction_set(isa)
    module = o3.SphericalHarmonics([2, 0, 1, 3], normalize, "component")
    for n in (0, 1, 2, 19):
        assert_same(module, plain(module), (torch.randn(n, 3, dtype=torch.float64),))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_harmonics_of_extreme_vectors(dtype: torch.dtype) -> None:
    """Directions of any length that is not tiny; a zero vector has none."""
    module = o3.SphericalHarmonics([0, 1, 2, 3], True, "component")
    v = torch.tensor([[1.0, 2.0, -2.0]], dtype=dtype)
    for factor in (1e-8, 1e8, 1e18, 1e30):
        torch.testing.assert_close(module(v * factor), module(v))
    zero = torch.zeros(1, 3, dtype=dtype, requires_grad=True)
    out = module(zero)
    assert out[0, 0] == 1
    assert not out[0, 1:].any()
    assert not torch.autograd.grad(out.sum(), zero)[0].any()


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_harmonics_hand_nan_on(place: int, normalize: bool) -> None:
    module = o3.SphericalHarmonics([1, 2], normalize)
    v = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    v[0, place] = torch.nan
    nan = module(v).isnan()
    assert nan[0].all() if normalize else nan[0].any()
    assert not nan[1].any()


R_MAX = 3.0
BASES = [nn.BesselBasis(R_MAX, 8), nn.BesselBasis(R_MAX, 1), nn.GaussianBasis(R_MAX, 5), nn.GaussianBasis(R_MAX, 1)]
ENVELOPES = [nn.PolynomialEnvelope(R_MAX), nn.PolynomialEnvelope(R_MAX, 2), nn.CosineEnvelope(R_MAX)]
LENGTHS = [1e-110, 1e-2, 0.1, 0.4, 1.0, 2.0, 2.9, 2.999999, R_MAX, 3.1, 1e3]


@pytest.mark.parametrize(("basis", "envelope"), list(product(BASES, ENVELOPES)), ids=str)
def test_radial(basis: torch_nn.Module, envelope: torch_nn.Module) -> None:
    module = nn.RadialBasis(basis, envelope).double()
    assert module._plan is not None
    direction = torch.tensor([2.0, -1.0, 2.0], dtype=torch.float64) / 3
    for length in LENGTHS:
        if length == R_MAX and isinstance(envelope, nn.CosineEnvelope):
            continue  # its second derivative jumps there
        # Third derivatives are plain torch's own.
        assert_same(module, plain(module), (direction[None] * length,), order=2)
    for n in (0, 1, 5):
        assert_same(module, plain(module), (torch.randn(n, 3, dtype=torch.float64),))


@pytest.mark.parametrize("envelope", ENVELOPES, ids=str)
@pytest.mark.parametrize("basis", [BASES[0], BASES[3]], ids=str)
def test_radial_of_tiny_vectors(basis: torch_nn.Module, envelope: torch_nn.Module) -> None:
    """Even functions of r have second derivatives that hardly change near 0; plain torch loses digits there."""
    module = nn.RadialBasis(basis, envelope)
    found = []
    for length in (1e-6, 1e-9, 1e-50, 1e-100):
        v = torch.tensor([[2.0, -1.0, 2.0]], dtype=torch.float64) / 3 * length
        found.append(torch.autograd.functional.hessian(lambda v: module(v).sum(), v)[0, :, 0])
    for hessian in found[1:]:
        torch.testing.assert_close(hessian, found[0], atol=1e-4 * float(found[0].abs().max()), rtol=0)
    symmetric = found[-1].diagonal().mean() * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(found[-1], symmetric, atol=1e-10 * float(found[0].abs().max()), rtol=0)


def test_third_derivatives_of_linear_and_constant_functions_are_zero() -> None:
    for call, x in (
        (lambda x: activate(x, write_act("identity", 2.0, 1.0)), torch.randn(3, 2)),
        (o3.SphericalHarmonics([1], False), torch.randn(3, 3)),
        (o3.SphericalHarmonics([0], True), torch.randn(3, 3)),
    ):
        x.requires_grad_()
        out = call(x)
        o = torch.randn_like(out).requires_grad_()
        (first,) = torch.autograd.grad(out, x, o, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x, create_graph=True)
        (third,) = torch.autograd.grad(second.sum(), x, materialize_grads=True)
        assert not second.any()
        assert not third.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_radial_at_zero_and_beyond(dtype: torch.dtype) -> None:
    module = nn.RadialBasis(BASES[0], ENVELOPES[0])
    v = torch.tensor([[0.0, 0.0, 0.0], [0.0, R_MAX, 0.0], [0.0, 0.0, 1e15]], dtype=dtype, requires_grad=True)
    out = module(v)
    assert out[0].all()
    assert not out[1:].any()
    (gradient,) = torch.autograd.grad(out.sum(), v, create_graph=True)
    assert not gradient.any()
    assert not torch.autograd.grad(gradient.square().sum() + gradient.sum(), v)[0].any()
    assert module(torch.full((1, 3), torch.nan, dtype=dtype)).isnan().all()


def test_the_bessel_series_meets_the_quotient() -> None:
    """Around nπ r / r_max = 1, where one formula takes over from the other."""
    module = nn.RadialBasis(nn.BesselBasis(R_MAX, 4), ENVELOPES[0]).double()
    for n in range(1, 5):
        switch = R_MAX / torch.pi / n
        x = torch.tensor([[switch * (1 - 1e-13), 0, 0], [switch * (1 + 1e-13), 0, 0]], dtype=torch.float64)
        x.requires_grad_()
        below, above = module(x)
        torch.testing.assert_close(below, above, atol=1e-11, rtol=0)
        first = torch.autograd.grad(module(x)[:, n - 1].sum(), x, create_graph=True)[0][:, 0]
        second = torch.autograd.grad(first.sum(), x)[0][:, 0]
        for pair in (first, second):
            torch.testing.assert_close(pair[0], pair[1], atol=1e-10, rtol=0)


def test_errors() -> None:
    radial, harmonics = nn.RadialBasis(BASES[0], ENVELOPES[0]), o3.SphericalHarmonics([1], True)
    with pytest.raises(ValueError, match="radial needs a last axis of 3, got 2"):
        radial(torch.randn(5, 2))
    with pytest.raises(ValueError, match=r"x must have a last dimension of 3, got \(5, 2\)"):
        harmonics(torch.randn(5, 2))
    gradient = torch.ops.e3frame.activate_backward
    text = write_act("silu", 1.0, 1.0)
    with pytest.raises(ValueError, match=r"activate: shapes do not fit, got \(3,\), \(2,\)"):
        gradient(torch.randn(3), torch.randn(2), text)
    with pytest.raises(ValueError, match=r"one type, got torch.float32 and torch.float64"):
        gradient(torch.randn(3), torch.randn(3).double(), text)
    with pytest.raises(ValueError, match=r"native kernels run in float32 and float64, got torch.float16"):
        torch.ops.e3frame.activate(torch.randn(3).half(), text)

"""Unusual arguments: views written to in place, terms of no copies, integers, half-integer spins."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import e3nn.o3
import pytest
import torch
from torch import Tensor

from e3frame import io, math, nn, o3
from e3frame.nn.dipole import Dipole

CLOSE = {"atol": 1e-12, "rtol": 0}
LIBRARIES = (o3, e3nn.o3)

# Views of weights -----------------------------------------------------------------------------------------------------

WITH_VIEWS: dict[str, Callable[[ModuleType], torch.nn.Module]] = {
    "Linear": lambda lib: lib.Linear("2x0e + 1o + 3x0e", "1x0e + 2x1o + 2x0e"),
    "Linear, channels": lambda lib: lib.Linear("2x0e + 1o", "3x0e + 1o", f_in=2, f_out=3),
    "TensorProduct": lambda lib: lib.TensorProduct(
        "2x0e + 1o",
        "0e + 1o",
        "2x0e + 1o + 0e",
        [(0, 0, 0, "uvw", True), (1, 0, 1, "uvu", True), (1, 1, 2, "uuu", False)],
    ),
    "FullyConnectedTensorProduct": lambda lib: lib.FullyConnectedTensorProduct("2x0e + 1o", "0e + 1o", "2x0e + 1o"),
}


@pytest.mark.parametrize("name", WITH_VIEWS)
def test_weights_are_written_through_their_views(name: str) -> None:
    ours, theirs = (WITH_VIEWS[name](library) for library in LIBRARIES)
    with torch.no_grad():
        for module in (ours, theirs):
            for n, (k, _, view) in enumerate(module.weight_views(yield_instruction=True)):
                view.fill_(n + 1.0)
                module.weight_view_for_instruction(k).mul_(2.0)
                view[..., :1] -= 0.5
    torch.testing.assert_close(ours.weight, theirs.weight, **CLOSE)
    assert ours.weight.unique().numel() > 2
    for module in (ours, theirs):
        for view in (next(iter(module.weight_views())), module.weight_view_for_instruction(0)):
            with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad is being used in an"):
                view.zero_()


@pytest.mark.parametrize("name", WITH_VIEWS)
def test_given_weights_are_written_through_their_views(name: str) -> None:
    """Also with gradients: e3nn's views are single ones."""
    for library in LIBRARIES:
        module = WITH_VIEWS[name](library)
        start = torch.ones_like(module.weight).requires_grad_()
        flat = start * 1.0
        for view in module.weight_views(flat):
            view.mul_(3.0)
        torch.testing.assert_close(flat.detach(), 3 * torch.ones_like(flat))
        flat.sum().backward()
        torch.testing.assert_close(start.grad, 3 * torch.ones_like(flat))


@pytest.mark.parametrize("irreps", [("0x0e + 1o", "2x0e"), ("2x0e", "0x0e")])
def test_views_of_no_weights(irreps: tuple[str, str]) -> None:
    shapes = []
    for library in LIBRARIES:
        linear = library.Linear(*irreps)
        shapes.append([view.shape for view in linear.weight_views()] + [linear.weight_view_for_instruction(0).shape])
    assert shapes[0] == shapes[1]
    product = o3.FullyConnectedTensorProduct("0x0e", "1o", "2x1o")
    assert [tuple(view.shape) for view in product.weight_views()] == [(0, 1, 2)]


# Terms of no copies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("biases", [True, [True, False, True]])
@pytest.mark.parametrize(
    "irreps_out", ["0x0e + 2x0e + 0x0e", "2x0e + 1o + 0x0e", "0x0e + 0x1o + 0x0e", "0x0e + 0e + 3x0e"]
)
@pytest.mark.parametrize("irreps_in", ["2x0e + 0x0e + 1o", "0x0e + 0x1o", "", "3x1o"])
@pytest.mark.parametrize("channels", [{}, {"f_in": 2, "f_out": 3}])
def test_biases_of_terms_without_copies(irreps_in: str, irreps_out: str, biases: object, channels: dict) -> None:
    if isinstance(biases, list) and irreps_out.split(" + ")[1].endswith("1o"):
        biases = [True, False, True]
    linear = o3.Linear(irreps_in, irreps_out, biases=biases, **channels)
    kept = [ir for mul, ir in linear.irreps_out for _ in range(mul)]
    bias = torch.randn_like(linear.bias)
    with torch.no_grad():
        linear.bias.copy_(bias)
    lead = (4, 2) if channels else (4,)
    out = linear(torch.zeros(*lead, linear.irreps_in.dim))
    assert out.shape == (*((4, 3) if channels else (4,)), linear.irreps_out.dim)
    chosen = [biases is True or biases[i] for i, (mul, _) in enumerate(linear.irreps_out) for _ in range(mul)]
    expected, k = torch.zeros_like(out), 0
    for i, (ir, has) in enumerate(zip(kept, chosen, strict=True)):
        if has and ir.is_scalar():
            where = sum(other.dim for other in kept[:i])
            expected[..., where] = bias[..., k]
            k += 1
    assert k == linear.bias_numel // (linear.plan.f_out or 1) or k == linear.bias.shape[-1]
    torch.testing.assert_close(out, expected, **CLOSE)


@pytest.mark.parametrize("irreps", ["0x0e", "0x1o + 0x0e", "", "0x3e + 2x1o"])
def test_modules_of_irreps_without_copies(irreps: str) -> None:
    dim = o3.Irreps(irreps).dim
    x = torch.randn(3, dim, requires_grad=True)
    modules = [
        nn.BatchNorm(irreps), nn.LayerNorm(irreps), nn.RMSNorm(irreps), nn.Dropout(irreps, 0.5),
        nn.NormActivation(irreps, "tanh"), nn.Identity(irreps, irreps), o3.Norm(irreps), o3.Linear(irreps, irreps),
    ]  # fmt: skip
    for module in modules:
        out = module(x)
        assert out.shape[0] == 3
        if out.requires_grad:
            out.sum().backward()
        assert out.isfinite().all()
    assert o3.FullTensorProduct(irreps, irreps)(x, x).shape[0] == 3
    assert o3.FullyConnectedTensorProduct(irreps, "1o", "2x1o + 0x0e")(x, torch.randn(3, 3)).shape == (3, 6)


# Types of numbers -----------------------------------------------------------------------------------------------------

STRESS = [[1, 2, 0], [2, 3, 1], [0, 1, 2]]
SPHERICAL = io.SphericalTensor(2, 1, -1)
CARTESIAN = io.CartesianTensor("ij=ji")
FUNCTIONS: dict[str, tuple[Callable[..., object], tuple[object, ...]]] = {
    "spherical_harmonics": (lambda x: o3.spherical_harmonics([0, 1, 2, 3], x, True), ([1, 2, 2],)),
    "spherical_harmonics, not normalized": (lambda x: o3.spherical_harmonics([0, 2], x, False), ([1, 2, 2],)),
    "spherical_harmonics_alpha": (lambda a: o3.spherical_harmonics_alpha(3, a), ([0, 1, 2],)),
    "spherical_harmonics_alpha_beta": (lambda a, b: o3.spherical_harmonics_alpha_beta([0, 2], a, b), ([1, 2], [1, 1])),
    "Legendre": (lambda z, y: o3.Legendre([0, 1, 2])(z, y), ([0, 1], [1, 0])),
    "rfft": (lambda x: o3.rfft(x, 2), ([1, 2, 0, 1, 3],)),
    "irfft": (lambda x: o3.irfft(x, 7), ([1, 2, 0, 1, 3],)),
    "Norm": (o3.Norm("0e + 1o"), ([1, 2, 2, 0],)),
    "CartesianTensor.from_cartesian": (CARTESIAN.from_cartesian, (STRESS,)),
    "CartesianTensor.to_cartesian": (CARTESIAN.to_cartesian, ([1, 2, 3, 0, 1, 2],)),
    "CartesianTensor.from_vectors": (CARTESIAN.from_vectors, ([1, 2, 3], [0, 1, 1])),
    "with_peaks_at": (SPHERICAL.with_peaks_at, ([[1, 0, 0], [0, 2, 0]],)),
    "with_peaks_at, values": (SPHERICAL.with_peaks_at, ([[1, 0, 0], [0, 2, 0]], [3, 1])),
    "sum_of_diracs": (SPHERICAL.sum_of_diracs, ([[1, 0, 0], [0, 2, 0]], [3, 1])),
    "from_samples_on_s2": (SPHERICAL.from_samples_on_s2, ([[1, 0, 0], [0, 2, 0]], [3, 1])),
    "norms": (SPHERICAL.norms, ([1, 2, 2, 0, 1, 0, 0, 3, 1],)),
    "signal_xyz": (SPHERICAL.signal_xyz, ([1, 2, 2, 0, 1, 0, 0, 3, 1], [[1, 2, 0]])),
    "signal_on_grid": (lambda s: SPHERICAL.signal_on_grid(s, 10), ([1, 2, 2, 0, 1, 0, 0, 3, 1],)),
    "plot": (lambda s: SPHERICAL.plot(s, res=10), ([1, 2, 2, 0, 1, 0, 0, 3, 1],)),
    "find_peaks": (lambda s: SPHERICAL.find_peaks(s, 20), ([1, 2, 2, 0, 1, 0, 0, 3, 1],)),
    "bessel": (lambda x: math.bessel(x, 3, 4.0), ([0, 1, 2],)),
    "soft_unit_step": (math.soft_unit_step, ([0, 1, 2],)),
    **{
        f"soft_one_hot_linspace, {basis}": (
            lambda x, b=basis: math.soft_one_hot_linspace(x, -1.0, 3.0, 4, b, True), ([0, 1, 2],)
        )
        for basis in ("gaussian", "cosine", "smooth_finite", "fourier", "bessel")
    },
    "orthonormalize": (math.orthonormalize, ([[1, 2, 0], [0, 1, 1]],)),
    "complete_basis": (math.complete_basis, ([[1, 2, 0]],)),
    "safe_norm": (nn.safe_norm, ([[1, 2, 0], [0, 0, 0]],)),
    "edge_vectors": (lambda p: nn.edge_vectors(p, torch.tensor([[0, 1], [1, 0]])), ([[1, 2, 0], [0, 1, 1]],)),
    "group_mean": (lambda x: nn.Pool("mean")(x, None, torch.tensor([0, 0]), 1), ([[1], [2]],)),
    "Dipole": (
        lambda q, p: Dipole([1.5])(q, p, torch.tensor([0, 0]), torch.tensor([0, 0]), 1),
        ([[1], [2]], [[1, 2, 0], [0, 1, 1]]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.uint8])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_integers_are_numbers(name: str, dtype: torch.dtype) -> None:
    """Constants are never cut to integers: 1/3 is not 0, and Y^0 is not 0."""
    f, given = FUNCTIONS[name]
    found = f(*(torch.tensor(x, dtype=dtype) for x in given))
    expected = f(*(torch.tensor(x, dtype=torch.get_default_dtype()) for x in given))
    torch.testing.assert_close(found, expected, check_dtype=False, **CLOSE)
    one = found if isinstance(found, Tensor) else found[0]
    assert one.is_floating_point()


ASKED: dict[str, Callable[[torch.dtype], object]] = {
    "wigner_3j": lambda dtype: o3.wigner_3j(1, 1, 2, dtype=dtype),
    "so3_generators": lambda dtype: o3.so3_generators(1, dtype),
    "su2_generators": lambda dtype: o3.su2_generators(1, dtype),
    "change_basis_real_to_complex": lambda dtype: o3.change_basis_real_to_complex(1, dtype),
    "s2_grid": lambda dtype: o3.s2_grid(4, 5, dtype=dtype),
    "spherical_harmonics_s2_grid": lambda dtype: o3.spherical_harmonics_s2_grid(1, 4, 5, dtype=dtype),
    "ToS2Grid": lambda dtype: o3.ToS2Grid(1, (4, 5), dtype=dtype),
    "FromS2Grid": lambda dtype: o3.FromS2Grid((4, 5), 1, dtype=dtype),
    "moment": lambda dtype: math.moment(torch.tanh, 2, dtype=dtype),
    "reduce_permutation": lambda dtype: math.reduce_permutation(*math.germinate_formulas("ij=ji"), dtype=dtype, i=3),
    "standard_representation": lambda dtype: math.perm.standard_representation((1, 0, 2), dtype=dtype),
}


@pytest.mark.parametrize("name", ASKED)
def test_constants_are_no_integers(name: str) -> None:
    ASKED[name](torch.float32)
    with pytest.raises(ValueError, match=r"a floating-point dtype is required, got torch\.int64"):
        ASKED[name](torch.int64)


# Spins ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("j", [0, 0.5, 1, 1.0, 1.5, 2, 2.5, 5.5])
def test_generators_of_spins(j: float) -> None:
    x, y, z = generators = o3.su2_generators(j)
    torch.testing.assert_close(generators, e3nn.o3.su2_generators(j), check_dtype=False, atol=1e-6, rtol=0)
    for a, b, c in ((x, y, z), (y, z, x), (z, x, y)):
        torch.testing.assert_close(a @ b - b @ a, c, **CLOSE)
    casimir = -(generators @ generators).sum(0)
    torch.testing.assert_close(casimir, j * (j + 1) * torch.eye(int(2 * j) + 1, dtype=casimir.dtype), **CLOSE)


@pytest.mark.parametrize("j", [-1, -0.5, 0.3, float("nan"), float("inf"), True, "1"])
def test_no_spin(j: object) -> None:
    with pytest.raises(ValueError, match="a spin must be a non-negative multiple of 1/2, got"):
        o3.su2_generators(j)

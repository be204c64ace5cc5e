"""Tensor products as modules: e3nn's values for the same weights, equivariance, variance, derivatives."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import e3nn.o3
import pytest
import torch
from torch import Tensor

from e3frame import kernels, o3
from e3frame.algebra.paths import plan_convolution

CLOSE = {"atol": 1e-10, "rtol": 0}

# Every mode, with weights where it has a choice and without; the irreps give generic, scalar and cross products.
EXPLICIT: dict[str, tuple[str, str, str, list[tuple]]] = {
    "uvw": ("3x1o + 2x0e", "2x1o + 4x2e", "5x0e + 3x1e + 2x2e", [(0, 0, 1, "uvw", True), (1, 1, 2, "uvw", True)]),
    "uvw into one": ("3x1o + 2x0e", "2x1o + 4x0e", "5x0e", [(0, 0, 0, "uvw", True, 0.3), (1, 1, 0, "uvw", True)]),
    "uvu": ("3x2e", "2x1o", "3x1o + 3x3o", [(0, 0, 0, "uvu", True), (0, 0, 1, "uvu", False)]),
    "uvv": ("3x2e", "2x1o", "2x1o + 2x3o", [(0, 0, 0, "uvv", True), (0, 0, 1, "uvv", False)]),
    "uuw": ("3x2e", "3x1o", "4x1o + 1x3o", [(0, 0, 0, "uuw", True), (0, 0, 1, "uuw", False)]),
    "uuu": ("3x1e", "3x1o", "3x1o + 3x0o", [(0, 0, 0, "uuu", True), (0, 0, 1, "uuu", False)]),
    "uvuv": ("3x2e", "2x1o", "6x1o + 6x3o", [(0, 0, 0, "uvuv", True), (0, 0, 1, "uvuv", False)]),
    "uvu<v": ("4x1o", "4x2e", "6x1o + 6x3o", [(0, 0, 0, "uvu<v", True), (0, 0, 1, "uvu<v", False)]),
    "u<vw": ("4x1o", "4x1o", "5x1e", [(0, 0, 0, "u<vw", True)]),
    "unreached and empty": ("2x1o + 0x0e", "2x0e", "3x1o + 2x2e + 0x0e", [(0, 0, 0, "uvw", True)]),
}


def pair(name: str, **options: object) -> tuple[o3.TensorProduct, e3nn.o3.TensorProduct]:
    """One product from both libraries, with the same weights."""
    *irreps, instructions = EXPLICIT[name]
    return with_same_weights(
        o3.TensorProduct(*irreps, instructions, **options), e3nn.o3.TensorProduct(*irreps, instructions, **options)
    )


def with_same_weights(ours: o3.TensorProduct, theirs: e3nn.o3.TensorProduct) -> tuple:
    if ours.weight is not None:
        ours.load_state_dict({"weight": theirs.weight.detach()})
    return ours, theirs


def inputs(module: o3.TensorProduct, generator: torch.Generator, *lead: int) -> tuple[Tensor, Tensor]:
    return (
        torch.randn(*lead, module.irreps_in1.dim, generator=generator),
        torch.randn(*lead, module.irreps_in2.dim, generator=generator),
    )


def random_irreps(rng: random.Random) -> str:
    return "+".join(f"{rng.randint(1, 3)}x{rng.randint(0, 2)}{rng.choice('eo')}" for _ in range(rng.randint(1, 3)))


@pytest.mark.parametrize("name", EXPLICIT)
def test_every_mode_is_that_of_e3nn(name: str, generator: torch.Generator) -> None:
    ours, theirs = pair(name)
    x, y = inputs(ours, generator, 4)
    torch.testing.assert_close(ours(x, y), theirs(x, y), **CLOSE)
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("name", EXPLICIT)
def test_weights_of_each_row(name: str, generator: torch.Generator) -> None:
    ours, theirs = pair(name, shared_weights=False)
    x, y = inputs(ours, generator, 4)
    w = torch.randn(4, ours.weight_numel, generator=generator)
    torch.testing.assert_close(ours(x, y, w), theirs(x, y, w), **CLOSE)
    shapes = [ins.path_shape for ins in ours.instructions if ins.has_weight]
    parts = w.split([torch.Size(shape).numel() for shape in shapes], dim=-1)
    views = [part.unflatten(-1, shape) for part, shape in zip(parts, shapes, strict=True)]
    torch.testing.assert_close(ours(x, y, views), ours(x, y, w), **CLOSE)


@pytest.mark.parametrize("seed", range(10))
def test_named_products_are_those_of_e3nn(seed: int, generator: torch.Generator) -> None:
    rng = random.Random(seed)
    a, b, c = random_irreps(rng), random_irreps(rng), random_irreps(rng)
    irrep, path = rng.choice(["component", "norm"]), rng.choice(["element", "path"])
    options = {"irrep_normalization": irrep, "path_normalization": path}
    copies = o3.Irreps([(1, random_irreps(rng)[2:4]) for _ in range(o3.Irreps(a).num_irreps)])
    for name, arguments in [
        ("FullyConnectedTensorProduct", (a, b, c)),
        ("FullTensorProduct", (a, b)),
        ("FullTensorProduct", (a, b, ["0e", "1o", "2e"])),
        ("ElementwiseTensorProduct", (a, repr(copies))),
    ]:
        ours, theirs = getattr(o3, name)(*arguments, **options), getattr(e3nn.o3, name)(*arguments, **options)
        ours, theirs = with_same_weights(ours, theirs)
        x, y = inputs(ours, generator, 3)
        torch.testing.assert_close(ours(x, y), theirs(x, y), **CLOSE)
    for arguments in [(a,), (a, None, ["0e", "1o", "2e"]), (a, c)]:
        ours, theirs = with_same_weights(
            o3.TensorSquare(*arguments, **options), e3nn.o3.TensorSquare(*arguments, **options)
        )
        x, _ = inputs(ours, generator, 3)
        torch.testing.assert_close(ours(x), theirs(x), **CLOSE)


@pytest.mark.parametrize("name", EXPLICIT)
def test_equivariant(name: str, motion: Tensor, generator: torch.Generator) -> None:
    module, _ = pair(name)
    D1, D2, D_out = (i.D_from_matrix(motion) for i in (module.irreps_in1, module.irreps_in2, module.irreps_out))
    x, y = inputs(module, generator, 4)
    torch.testing.assert_close(module(x @ D1.T, y @ D2.T), module(x, y) @ D_out.T, **CLOSE)


@pytest.mark.parametrize("irreps_out", [None, "2x0e + 3x1e + 2e"])
def test_square_is_equivariant(irreps_out: str | None, motion: Tensor, generator: torch.Generator) -> None:
    module = o3.TensorSquare("2x0o + 3x1o + 2e", irreps_out)
    D_in, D_out = module.irreps_in.D_from_matrix(motion), module.irreps_out.D_from_matrix(motion)
    x = torch.randn(4, module.irreps_in.dim, generator=generator)
    torch.testing.assert_close(module(x @ D_in.T), module(x) @ D_out.T, **CLOSE)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", EXPLICIT)
def test_right_is_the_operator_of_the_second_input(name: str, shared: bool, generator: torch.Generator) -> None:
    module, _ = pair(name, shared_weights=shared)
    x, y = inputs(module, generator, 2, 3)
    w = None if shared else torch.randn(2, 3, module.weight_numel, generator=generator)
    operator = module.right(y, w)
    assert operator.shape == (2, 3, module.irreps_in1.dim, module.irreps_out.dim)
    torch.testing.assert_close(torch.einsum("...i,...ik->...k", x, operator), module(x, y, w), **CLOSE)


def test_right_is_that_of_e3nn(generator: torch.Generator) -> None:
    oracle = e3nn.o3.TensorProduct(*EXPLICIT["uvw"], compile_right=True)
    ours, theirs = with_same_weights(o3.TensorProduct(*EXPLICIT["uvw"]), oracle)
    _, y = inputs(ours, generator, 3)
    torch.testing.assert_close(ours.right(y), theirs.right(y), **CLOSE)


def test_broadcasts(generator: torch.Generator) -> None:
    module, _ = pair("uvw", shared_weights=False)
    x = torch.randn(5, 1, module.irreps_in1.dim, generator=generator)
    y = torch.randn(3, module.irreps_in2.dim, generator=generator)
    w = torch.randn(2, 1, 1, module.weight_numel, generator=generator)
    out = module(x, y, w)
    assert out.shape == (2, 5, 3, module.irreps_out.dim)
    torch.testing.assert_close(out[1, 4, 2], module(x[4], y[2:], w[1, 0])[0], **CLOSE)
    assert module(x[:0], y, w).shape == (2, 0, 3, module.irreps_out.dim)
    shared, _ = pair("uvw")
    assert shared(x[0, 0], y[0]).shape == (shared.irreps_out.dim,)


@pytest.mark.parametrize("path_normalization", ["element", "path"])
@pytest.mark.parametrize(
    "make",
    [
        lambda **o: o3.FullyConnectedTensorProduct("8x0e + 6x1o + 4x2e", "3x0e + 2x1o + 2e", "8x0e + 4x1o + 4x2e", **o),
        lambda **o: o3.FullTensorProduct("2x0e + 1o + 2e", "0e + 1o", **o),
        lambda **o: o3.ElementwiseTensorProduct("2x0e + 1o + 2e", "4x1o", **o),
        lambda **o: o3.TensorSquare("8x0e + 6x1o + 4x2e", "8x0e + 4x1e + 4x2e", **o),
        lambda **o: o3.TensorSquare("2x0e + 3x1o + 2x2e", **o),
        lambda **o: o3.TensorProduct.from_plan(plan_convolution("4x0e + 4x1o", "0e + 1o + 2e", **o)),
    ],
)
def test_unit_variance(
    make: Callable[..., o3.TensorProduct], path_normalization: str, generator: torch.Generator
) -> None:
    module = make(path_normalization=path_normalization)
    x, y = inputs(module, generator, 60_000 // (module.weight_numel + 1))
    if isinstance(module, o3.TensorSquare):
        y = x
    # The output is linear in its weights: its mean square over normal weights is the sum over unit weights.
    w = torch.eye(module.weight_numel).unsqueeze(1) if module.weight_numel else None
    out = kernels.product(x, y, w, module.plan)
    squares = out.square().mean(0) if w is None else out.square().mean(1).sum(0)
    for where in module.irreps_out.slices():
        assert squares[where].mean().item() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", EXPLICIT)
@pytest.mark.parametrize("shared", [True, False])
def test_derivatives(name: str, shared: bool, generator: torch.Generator) -> None:
    module, _ = pair(name, shared_weights=shared, internal_weights=False)
    x, y = inputs(module, generator, 2)
    w = torch.randn(*(() if shared else (2,)), module.weight_numel, generator=generator)
    arguments = tuple(a.requires_grad_() for a in (x, y, w))
    assert torch.autograd.gradcheck(module, arguments, fast_mode=True)
    assert torch.autograd.gradgradcheck(module, arguments, fast_mode=True)


def test_weight_views() -> None:
    irreps, instructions = (
        EXPLICIT["uvu"][:3],
        [(0, 0, 1, "uvu", False), (0, 0, 0, "uvu", True), (0, 0, 1, "uvu", True)],
    )
    module = o3.TensorProduct(*irreps, instructions)
    views = list(module.weight_views())
    assert [view.shape for view in views] == [(3, 2), (3, 2)]
    with torch.no_grad():
        views[1].zero_()
    assert not module.weight[6:].any()
    assert module.weight[:6].all()
    torch.testing.assert_close(module.weight_view_for_instruction(2), views[1])
    numbered = list(module.weight_views(yield_instruction=True))
    assert [(n, ins) for n, ins, _ in numbered] == [(1, module.instructions[1]), (2, module.instructions[2])]
    with pytest.raises(ValueError, match="instruction 0 has no weights"):
        module.weight_view_for_instruction(0)


def test_copies_and_state(generator: torch.Generator) -> None:
    module, _ = pair("uvw")
    x, y = inputs(module, generator, 3)
    expected = module(x, y)
    torch.testing.assert_close(copy.deepcopy(module)(x, y), expected, atol=0, rtol=0)
    assert list(module.state_dict()) == ["weight"]
    other, _ = pair("uvw")
    with torch.no_grad():
        other.weight.zero_()
    other.load_state_dict(module.state_dict())
    torch.testing.assert_close(other(x, y), expected, atol=0, rtol=0)


def test_constants_stay_exact(generator: torch.Generator) -> None:
    """Rounding a module to float32 and back rounds its weights only."""
    module = o3.FullTensorProduct("1o + 2e", "1o + 3o")
    x, y = inputs(module, generator, 3)
    expected = module(x, y)
    torch.testing.assert_close(copy.deepcopy(module).float().double()(x, y), expected, atol=0, rtol=0)
    single = module.float()(x.float(), y.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", EXPLICIT)
def test_compiles_and_maps(name: str, generator: torch.Generator, compiled: Callable) -> None:
    module, _ = pair(name)
    fast = compiled(module)
    for rows in (4, 3):
        x, y = inputs(module, generator, rows)
        torch.testing.assert_close(fast(x, y), module(x, y), **CLOSE)
    torch.testing.assert_close(torch.func.vmap(module)(x, y), module(x, y), **CLOSE)


def test_several_products_compile_as_one(generator: torch.Generator, compiled: Callable) -> None:
    """Constants of the same kind, embedded in one graph, stay apart."""
    first, second = o3.FullTensorProduct("1o", "1o + 2e"), o3.TensorSquare("1o + 2e", "1o + 2e")

    def call(x: Tensor, y: Tensor) -> Tensor:
        return second(y) + first(x, y).sum(-1, keepdim=True)

    x, y = inputs(first, generator, 3)
    fast = compiled(call)
    torch.testing.assert_close(fast(x, y), call(x, y), **CLOSE)


@pytest.mark.parametrize("irreps_in2", ["1x0e", "2x0e"])
def test_weights_of_no_copies(irreps_in2: str) -> None:
    module = o3.FullyConnectedTensorProduct("0x1o", irreps_in2, "4x1o")
    y = torch.randn(3, module.irreps_in2.dim)
    assert torch.equal(module(torch.zeros(3, 0), y), torch.zeros(3, 12))


def test_inputs_of_two_types_are_promoted() -> None:
    module = o3.FullyConnectedTensorProduct("8x0e + 2x1o", "2x0e", "4x0e + 3x1o")
    x, charges = torch.randn(5, module.irreps_in1.dim), torch.tensor([[1, 0], [-1, 2], [0, 0], [3, 1], [2, 2]])
    torch.testing.assert_close(module(x, charges), module(x, charges.to(x.dtype)))


def test_output_mask() -> None:
    module, theirs = pair("unreached and empty")
    torch.testing.assert_close(module.output_mask, theirs.output_mask)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pair("uvw", shared_weights=False, internal_weights=True), r"internal weights are shared by all rows"),
        (lambda: pair("u<vw", internal_weights=False)[0](torch.ones(12), torch.ones(12)), r"pass 30 weights"),
        (
            lambda: pair("u<vw")[0](torch.ones(11), torch.ones(12)),
            r"x must have a last dimension of 12, got shape \(11,\)",
        ),
        (
            lambda: pair("u<vw")[0](torch.ones(12), torch.ones(2, 11)),
            r"y must have a last .* of 12, got shape \(2, 11\)",
        ),
        (
            lambda: pair("u<vw")[0](torch.ones(12), torch.ones(12), torch.ones(3, 30)),
            r"weight must have shape \(30\), got \(3, 30\)",
        ),
        (
            lambda: pair("u<vw", shared_weights=False)[0](torch.ones(12), torch.ones(12), torch.ones(30)),
            r"weight must have shape \(\.\.\., 30\), got \(30,\)",
        ),
        (lambda: pair("u<vw")[0](torch.ones(12), torch.ones(12), []), r"expected weights of 1 paths, got 0"),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises((ValueError, AssertionError), match=message):
        call()

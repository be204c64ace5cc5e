"""Linear maps and norms: e3nn's values for the same weights, equivariance, derivatives, errors."""

from __future__ import annotations

import copy
from collections.abc import Callable

import e3nn.o3
import pytest
import torch
from torch import Tensor

from e3frame import o3

CLOSE = {"atol": 1e-10, "rtol": 0}
IRREPS = ("4x0e + 3x1o + 2x0e + 5x2e + 0x1e", "3x0e + 2x1o + 6x0e + 2x2o + 1x2e")

OPTIONS = [
    {},
    {"biases": True},
    {"biases": [False, False, True, False, False]},
    {"path_normalization": "path"},
    {"instructions": [(0, 0), (2, 0), (1, 1)]},
    {"f_in": 3, "f_out": 2},
]


def pair(**options: object) -> tuple[o3.Linear, e3nn.o3.Linear]:
    # e3nn fails where a term has neither a path nor the number of rows of a bias.
    outs = "3x0e + 2x1o + 6x0e + 1x2e" if options.get("biases") is True else IRREPS[1]
    ours, theirs = o3.Linear(IRREPS[0], outs, **options), e3nn.o3.Linear(IRREPS[0], outs, **options)
    state = {"weight": theirs.weight.detach()} if ours.weight is not None else {}
    if ours.bias is not None:
        torch.nn.init.normal_(theirs.bias)
        state["bias"] = theirs.bias.detach()
    ours.load_state_dict(state)
    return ours, theirs


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_is_that_of_e3nn(options: dict, generator: torch.Generator) -> None:
    if isinstance(options.get("biases"), list):
        ours = o3.Linear(*IRREPS, **options)
        plain = o3.Linear(*IRREPS)
        plain.load_state_dict({"weight": ours.weight.detach()})
        torch.nn.init.normal_(ours.bias)
        x = torch.randn(4, ours.irreps_in.dim, generator=generator)
        change = ours(x) - plain(x)
        torch.testing.assert_close(change[:, 9:15], ours.bias.expand(4, 6), **CLOSE)
        assert not change[:, :9].any()
        assert not change[:, 15:].any()
        return
    ours, theirs = pair(**options)
    channels = (3,) if "f_in" in options else ()
    x = torch.randn(4, *channels, ours.irreps_in.dim, generator=generator)
    torch.testing.assert_close(ours(x), theirs(x), **CLOSE)
    torch.testing.assert_close(ours.output_mask, theirs.output_mask)
    assert repr(ours) == repr(theirs)
    for mine, other in zip(ours.weight_views(), theirs.weight_views(), strict=False):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("channels", [{}, {"f_in": 3, "f_out": 2}])
def test_weights_of_each_row(channels: dict, generator: torch.Generator) -> None:
    module = o3.Linear("2x0e + 3x1o", "4x0e + 2x1o", biases=True, shared_weights=False, **channels)
    x = torch.randn(5, *([3] if channels else []), module.irreps_in.dim, generator=generator)
    w = torch.randn(5, *module.plan.weight_shape, generator=generator)
    b = torch.randn(5, *module.plan.bias_shape, generator=generator)
    assert not list(module.parameters())
    out = module(x, w, b)
    one = o3.Linear("2x0e + 3x1o", "4x0e + 2x1o", biases=True, internal_weights=False, **channels)
    torch.testing.assert_close(out[2], one(x[2], w[2], b[2]), **CLOSE)
    theirs = e3nn.o3.Linear("2x0e + 3x1o", "4x0e + 2x1o", shared_weights=False, **channels)
    torch.testing.assert_close(module(x, w, 0 * b), theirs(x, w), **CLOSE)


def test_equivariant(motion: Tensor, generator: torch.Generator) -> None:
    linear = o3.Linear(*IRREPS, biases=True)
    torch.nn.init.normal_(linear.bias)
    D_in, D_out = linear.irreps_in.D_from_matrix(motion), linear.irreps_out.D_from_matrix(motion)
    x = torch.randn(4, linear.irreps_in.dim, generator=generator)
    torch.testing.assert_close(linear(x @ D_in.T), linear(x) @ D_out.T, **CLOSE)


def test_unit_variance(generator: torch.Generator) -> None:
    linear = o3.Linear("400x0e + 300x1o", "300x0e + 300x1o")
    x = torch.randn(300, linear.irreps_in.dim, generator=generator)
    assert linear(x).var().item() == pytest.approx(1, abs=0.05)


def test_weight_views() -> None:
    linear = o3.Linear("2x0e + 3x1o", "4x0e + 2x1o", biases=True)
    assert [view.shape for view in linear.weight_views()] == [(2, 4), (3, 2)]
    torch.testing.assert_close(linear.weight_view_for_instruction(1).flatten(), linear.weight[8:])
    assert [(n, ins) for n, ins, _ in linear.weight_views(yield_instruction=True)] == list(
        enumerate(linear.instructions[:2])
    )


@pytest.mark.parametrize("irreps", [("", ""), ("0e", ""), ("", "0e"), ("2x1o", "2x1e")])
def test_maps_without_paths_are_zero(irreps: tuple[str, str]) -> None:
    linear = o3.Linear(*irreps)
    out = linear(torch.ones(2, linear.irreps_in.dim))
    assert out.shape == (2, linear.irreps_out.dim)
    assert not out.any()


def test_linear_derivatives_and_copies(generator: torch.Generator, compiled: Callable) -> None:
    linear = o3.Linear("2x0e + 1o", "2x0e + 2x1o", biases=True)
    x = torch.randn(3, 5, generator=generator, requires_grad=True)
    arguments = (x, linear.weight, linear.bias)
    assert torch.autograd.gradcheck(linear, arguments)
    assert torch.autograd.gradgradcheck(linear, arguments)
    torch.testing.assert_close(copy.deepcopy(linear)(x), linear(x), atol=0, rtol=0)
    assert list(linear.state_dict()) == ["weight", "bias"]
    torch.testing.assert_close(compiled(linear)(x), linear(x), **CLOSE)


@pytest.mark.parametrize("num", [1, 3, 12])
@pytest.mark.parametrize("irreps", [IRREPS, ("6x0e + 9x1o", "2x0e + 4x1o")])
def test_indexed_linear_is_the_product_with_a_one_hot_vector(
    irreps: tuple[str, str], num: int, generator: torch.Generator
) -> None:
    module = o3.IndexedLinear(*irreps, num)
    product = e3nn.o3.FullyConnectedTensorProduct(irreps[0], f"{num}x0e", irreps[1])
    assert module.weight.shape == product.weight.shape
    module.load_state_dict({"weight": product.weight.detach()})
    x = torch.randn(7, module.irreps_in.dim, generator=generator)
    index = torch.randint(num, (7,), generator=generator)
    expected = product(x, torch.nn.functional.one_hot(index, num).double())
    torch.testing.assert_close(module(x, index), expected, **CLOSE)
    torch.testing.assert_close(module.output_mask, product.output_mask)
    assert module(x[:0], index[:0]).shape == (0, module.irreps_out.dim)


def test_indexed_linear_equivariant_and_differentiable(motion: Tensor, generator: torch.Generator) -> None:
    module = o3.IndexedLinear("6x0e + 2x1o", "2x0e + 4x1o", 3)
    D_in, D_out = module.irreps_in.D_from_matrix(motion), module.irreps_out.D_from_matrix(motion)
    x, index = torch.randn(4, 12, generator=generator), torch.tensor([0, 2, 2, 1])
    torch.testing.assert_close(module(x @ D_in.T, index), module(x, index) @ D_out.T, **CLOSE)
    call = lambda x, _: module(x, index)  # noqa: E731
    x.requires_grad_()
    assert torch.autograd.gradcheck(call, (x, module.weight))
    assert torch.autograd.gradgradcheck(call, (x, module.weight))


def test_indexed_linear_compiles(generator: torch.Generator, compiled: Callable) -> None:
    module = o3.IndexedLinear("6x0e + 2x1o", "2x0e + 4x1o", 3)
    x, index = torch.randn(4, 12, generator=generator), torch.tensor([0, 2, 2, 1])
    torch.testing.assert_close(compiled(module)(x, index), module(x, index), **CLOSE)


@pytest.mark.parametrize("squared", [True, False])
def test_norm(squared: bool, motion: Tensor, generator: torch.Generator) -> None:
    norm = o3.Norm("3x0o + 2x1o + 1o + 2x2e", squared)
    oracle = e3nn.o3.Norm("3x0o + 2x1o + 1o + 2x2e", squared)
    assert repr(norm.irreps_out) == repr(oracle.irreps_out)
    x = torch.randn(4, norm.irreps_in.dim, generator=generator)
    torch.testing.assert_close(norm(x), oracle(x), **CLOSE)
    torch.testing.assert_close(norm(x @ norm.irreps_in.D_from_matrix(motion).T), norm(x), **CLOSE)
    assert o3.Norm("")(torch.ones(2, 0)).shape == (2, 0)


def test_norm_has_no_derivatives_at_zero() -> None:
    x = torch.tensor([0.0, 0, 0, 1, 2, 3], requires_grad=True)
    (first,) = torch.autograd.grad(o3.Norm("2x1o")(x).square().sum() + o3.Norm("2x1o")(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert not first[:3].any()
    assert second.isfinite().all()
    assert not second[:3].any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: o3.Linear("0e", "0e", shared_weights=False, internal_weights=True), r"internal weights are shared"),
        (
            lambda: o3.Linear("0e", "0e", internal_weights=False)(torch.ones(1)),
            r"no weight of its own: .* shape \(1,\)",
        ),
        (
            lambda: o3.Linear("0e", "0e", biases=True, internal_weights=False)(torch.ones(1), torch.ones(1)),
            r"no bias of its own: pass one of shape \(1,\)",
        ),
        (lambda: o3.Linear("0e", "0e")(torch.ones(2)), r"features must have a last dimension of 1, got \(2,\)"),
        (lambda: o3.Linear("0e", "0e")(torch.ones(1), torch.ones(2)), r"weight must have shape \(1\), got \(2,\)"),
        (lambda: o3.Linear("0e", "0e")(torch.ones(1), torch.ones(3, 1)), r"weight must have shape \(1\), got \(3, 1\)"),
        (
            lambda: o3.Linear("0e", "0e", f_in=2, f_out=3, shared_weights=False)(torch.ones(2, 1), torch.ones(2)),
            r"weight must have shape \(\.\.\., 2, 3, 1\), got \(2,\)",
        ),
        (lambda: o3.IndexedLinear("0e", "0e", 0), r"num_indices must be at least 1, got 0"),
        (
            lambda: o3.IndexedLinear("0e", "0e", 2)(torch.ones(3, 1), torch.ones(2, dtype=torch.long)),
            r"expected x of shape \(n, 1\) and index of shape \(n,\), got \(3, 1\) and \(2,\)",
        ),
        (lambda: o3.Norm("0e")(torch.ones(2)), r"features must have a last dimension of 1, got \(2,\)"),
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

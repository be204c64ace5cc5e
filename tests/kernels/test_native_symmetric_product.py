"""The native symmetric product is the reference, to the third derivative."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from math import comb

import pytest
import torch
from support.native import AVAILABLE, assert_same, derivatives, needs_native
from torch import Tensor

from e3frame import kernels
from e3frame.algebra.symmetric_product import SymmetricProductPlan, plan_symmetric_product
from e3frame.kernels import reference
from e3frame.kernels.native import polynomials
from e3frame.kernels.native import symmetric_product as native

pytestmark = needs_native

PLANS = {
    "whole vectors": plan_symmetric_product("16x0e + 16x1o + 16x2e + 16x3o", "16x0e + 16x1o", 3, 4, "full"),
    "tails": plan_symmetric_product("33x0e + 33x1o + 33x2e", "33x2e + 66x1o + 33x0e", 3, 3),
    "one channel": plan_symmetric_product("1o + 0e", "2x0e", 4, 2),
    "four factors": plan_symmetric_product("3x0e + 3x1o + 3x2e", "3x0e + 3x1o", 4, 2),
    "high degrees": plan_symmetric_product("2x4e + 2x6e + 2x1o", "2x0e + 2x5o", 3, 2),
    "parities": plan_symmetric_product("5x0o + 5x1e + 5x1o", "5x0o + 5x1e + 5x2o + 5x0e", 3, 2),
    "linear": plan_symmetric_product("9x0e + 9x1o", "9x1o", 1, 2),
    "without index": plan_symmetric_product("17x0e + 17x1o + 17x1o", "17x0e + 17x2e", 2),
}


def arguments(
    plan: SymmetricProductPlan, rows: int = 23, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor | None]:
    """x, w, index: one index is taken by no row, another by most."""
    random = torch.Generator().manual_seed(rows)
    x, w = (
        torch.randn(n, generator=random, dtype=torch.float64) for n in ((rows, plan.irreps_in.dim), plan.weight_shape)
    )
    index = torch.randint(6, (rows,), generator=random).clamp(max=max(plan.rows - 2, 0)) if plan.rows > 1 else None
    return x.to(dtype), w.to(dtype), index


def both(plan: SymmetricProductPlan, index: Tensor | None) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    text = native.text_of(plan)
    return (
        lambda x, w: native.symmetric_product(x, w, index, text),
        lambda x, w: reference.symmetric_product(x, w, index, plan),
    )


@pytest.mark.parametrize("rows", [0, 1, 23])
@pytest.mark.parametrize("name", PLANS)
def test_three_derivatives(name: str, rows: int) -> None:
    plan = PLANS[name]
    x, w, index = arguments(plan, rows)
    assert_same(*both(plan, index), (x, w), order=3, rtol=1e-12)


@pytest.mark.parametrize("isa", AVAILABLE)
@pytest.mark.parametrize("rows", range(2, 10))
@pytest.mark.parametrize("name", ["tails", "four factors"])
def test_every_instruction_set(name: str, rows: int, isa: int, use_instruction_set: Callable[[int], None]) -> None:
    """With every number of rows that is left for the last registers."""
    use_instruction_set(isa)
    plan = PLANS[name]
    x, w, index = arguments(plan, rows)
    assert_same(*both(plan, index), (x, w), order=2, rtol=1e-12)


@pytest.mark.parametrize("isa", AVAILABLE)
@pytest.mark.parametrize("name", PLANS)
def test_single_precision(name: str, isa: int, use_instruction_set: Callable[[int], None]) -> None:
    """As exact as the reference in float32, up to a factor of 4."""
    use_instruction_set(isa)
    plan = PLANS[name]
    x, w, index = arguments(plan, 41, torch.float32)
    own, other = both(plan, index)
    found = zip(
        derivatives(own, (x, w), 2),
        derivatives(other, (x, w), 2),
        derivatives(other, (x.double(), w.double()), 2),
        strict=True,
    )
    for native_value, reference_value, exact in found:
        assert native_value.dtype == torch.float32
        error, usual = ((value.double() - exact).abs().max() for value in (native_value, reference_value))
        assert error <= 4 * usual + 1e-6 * exact.abs().max()


@pytest.mark.parametrize("name", ["tails", "without index"])
def test_more_rows_than_a_task_takes(name: str) -> None:
    plan = PLANS[name]
    x, w, index = arguments(plan, 700)
    assert_same(*both(plan, index), (x, w), order=2, rtol=1e-12)


@pytest.mark.parametrize("name", ["one channel", "linear", "without index"])
def test_numeric_derivatives(name: str) -> None:
    plan = PLANS[name]
    x, w, index = arguments(plan, 3)
    call = partial(kernels.symmetric_product, index=index, plan=plan)
    inputs = (x.requires_grad_(), w.requires_grad_())
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, inputs, fast_mode=True)


@pytest.mark.parametrize("cotangents", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize(
    "wanted", [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]
)
def test_gradients_of_some_of_the_gradients(wanted: tuple[bool, ...], cotangents: tuple[bool, ...]) -> None:
    """As forces ask for: the gradient by x alone, and then its gradient by some of the rest."""
    plan = PLANS["tails"]
    x, w, index = arguments(plan)
    o, ax, aw = torch.randn(len(x), plan.irreps_out.dim).double(), torch.randn_like(x), torch.randn_like(w)
    found = []
    for call in both(plan, index):
        given = [t.clone().requires_grad_(need) for t, need in zip((x, w, o), wanted, strict=True)]
        variables = [t.clone().requires_grad_() if not t.requires_grad else t for t in given[:2]]
        gradients = torch.autograd.grad(call(*variables), variables, given[2], create_graph=True)
        total = sum((a * g).sum() for a, g, use in zip((ax, aw), gradients, cotangents, strict=True) if use)
        asked = [t for t in given if t.requires_grad]
        found.append(torch.autograd.grad(total, asked, materialize_grads=True))
    for own, expected in zip(*found, strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-12, atol=1e-11)


def test_weights_of_other_indices_are_not_read() -> None:
    plan = PLANS["tails"]
    x, w, _ = arguments(plan)
    index, spoiled = torch.ones(len(x), dtype=torch.int64), w.clone()
    spoiled[[0, 2]] = torch.nan
    spoiled.requires_grad_()
    out = kernels.symmetric_product(x, spoiled, index, plan)
    assert torch.equal(out, kernels.symmetric_product(x, w, index, plan))
    (gw,) = torch.autograd.grad(out.sum(), spoiled)
    assert gw[1].all()
    assert not gw[[0, 2]].any()


def test_not_contiguous() -> None:
    plan = PLANS["tails"]
    x, w, index = arguments(plan)
    steps = (x.T.contiguous().T, w.mT.contiguous().mT, index.repeat_interleave(2)[::2])
    assert not any(t.is_contiguous() for t in steps)
    for own, expected in zip(
        derivatives(lambda x, w: kernels.symmetric_product(x, w, steps[2], plan), steps[:2], 2),
        derivatives(lambda x, w: kernels.symmetric_product(x, w, index, plan), (x, w), 2),
        strict=True,
    ):
        assert torch.equal(own, expected)


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (0, lambda x: x[:, 1:], r"x must have shape \(4, 8\), got \(4, 7\)"),
        (0, lambda x: x.float(), "w must be of the type of x, torch.float32, got torch.float64"),
        (1, lambda w: w[1:], r"w must have shape \(3, 13, 2\), got \(2, 13, 2\)"),
        (2, lambda index: index[1:], r"index must have shape \(4,\), got \(3,\)"),
        (2, lambda index: None, "w has 3 rows, so that index is required"),
        (2, lambda index: index.int(), "an index must be int64 on the CPU"),
        (2, lambda index: index + 1, "which is not below 3"),
        (3, lambda o: o[:3], r"o must have shape \(4, 14\), got \(3, 14\)"),
        (4, lambda ax: ax[1:], r"ax must have shape \(4, 8\), got \(3, 8\)"),
        (5, lambda aw: aw.float(), "aw must be of the type of x, torch.float64, got torch.float32"),
    ],
)
def test_wrong_arguments(place: int, change: Callable[[Tensor], Tensor], message: str) -> None:
    from support.operators import SAMPLES

    arguments = list(SAMPLES["symmetric_product_twice"])
    arguments[place] = change(arguments[place])
    with pytest.raises((ValueError, IndexError), match=message):
        torch.ops.e3frame.symmetric_product_twice(*arguments)


@pytest.mark.parametrize("name", PLANS)
def test_factors_of_every_monomial(name: str) -> None:
    """Each is a product of two values, once; a component of the output has each in one group alone."""
    polynomial = polynomials.read(PLANS[name])
    groups = polynomials.factorize(polynomial)
    found = [(k, monomial, a, b) for (a, k), items in groups.items() for monomial, b in items]
    assert sorted((k, monomial) for k, monomial, _, _ in found) == sorted(polynomial)
    assert all(tuple(sorted((*a, *b))) == monomial and max(len(a), len(b)) <= 2 for _, monomial, a, b in found)


def test_a_value_is_used_often() -> None:
    """Factorized polynomials need far fewer products than there are factors in their monomials."""
    polynomial = polynomials.read(PLANS["whole vectors"])
    groups = polynomials.factorize(polynomial)
    pairs = {value for (a, _), items in groups.items() for value in (a, *(b for _, b in items)) if len(value) == 2}
    assert len(polynomial) == 410
    assert len(groups) < 200
    assert len(pairs) < 70


@pytest.mark.parametrize(("correlation", "dim"), list(product((1, 2, 3, 4), (1, 2))))
def test_all_monomials(correlation: int, dim: int) -> None:
    """Of powers of scalars, each monomial has one coupling."""
    plan = plan_symmetric_product([(1, "0e")] * dim, "0e", correlation)
    polynomial = polynomials.read(plan)
    assert all(len(couplings) == 1 for couplings in polynomial.values())
    assert len(polynomial) == plan.num_couplings == sum(comb(n + dim - 1, n) for n in range(1, correlation + 1))

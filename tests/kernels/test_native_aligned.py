"""Products copy by copy in native code: equal to those in plain torch, with all derivatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from e3frame import kernels
from e3frame.algebra.paths import ProductPlan, plan_channelwise, plan_elementwise, plan_explicit
from e3frame.kernels.native import aligned, library

pytestmark = pytest.mark.skipif(library.load() is None, reason="no native kernels")

TERMS = "{0}x0e + {0}x1o + {0}x2e"
MIXED = [(0, 0, 0, "uuu", True), (1, 1, 0, "uuu", False), (1, 1, 1, "uuu", True)]
PLANS = {
    "channelwise": plan_channelwise(TERMS.format(20), TERMS.format(20), "0e + 1o + 2e"),
    "of one degree": plan_channelwise("3x1o", "3x1o"),
    "of degree 4": plan_channelwise("3x3o + 3x1e", "3x4e", "0o + 1o + 4e"),
    "elementwise": plan_elementwise("17x0e + 17x1o", "17x1o + 17x2e"),
    "with weights": plan_channelwise(TERMS.format(5), TERMS.format(5), "0e + 1o", weights=True),
    "with some weights": plan_explicit("5x0e + 5x1o", "5x0e + 5x1o", "5x0e + 5x2e", MIXED),
}
Inputs = tuple[Tensor, Tensor, Tensor | None]


def inputs_of(plan: ProductPlan, rows: int = 37, dtype: torch.dtype = torch.float64) -> Inputs:
    generator = torch.Generator().manual_seed(0)
    shapes = ((rows, plan.dims[0]), (rows, plan.dims[1]), (plan.weight_numel,))
    x, y, w = (torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in shapes)
    return x, y, w if plan.weight_numel else None


def derivatives(plan: ProductPlan, inputs: Inputs) -> list[Tensor]:
    """The value, and the first three derivatives of functions of it."""
    given = [t for t in inputs if t is not None]
    out = kernels.product(*inputs, plan)
    first = torch.autograd.grad(out.pow(3).sum(), given, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), given, create_graph=True)
    third = torch.autograd.grad(sum(g.square().sum() for g in second), given)
    return [out, *first, *second, *third]


@pytest.mark.parametrize("name", PLANS)
def test_equals_the_reference(name: str) -> None:
    plan = PLANS[name]
    native = derivatives(plan, inputs_of(plan))
    assert type(native[0].grad_fn).__name__ == "symmetric_productBackward"
    with kernels.use("reference"):
        expected = derivatives(plan, inputs_of(plan))
    for ours, theirs in zip(native, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10 * float(theirs.detach().abs().max()))


@pytest.mark.parametrize("name", PLANS)
def test_float32(name: str) -> None:
    plan = PLANS[name]
    exact = kernels.product(*inputs_of(plan), plan)
    single = [None if t is None else t.float() for t in inputs_of(plan)]
    torch.testing.assert_close(kernels.product(*single, plan).double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["of one degree", "with some weights"])
def test_gradcheck(name: str) -> None:
    plan = PLANS[name]
    inputs = inputs_of(plan, rows=2)

    def run(*given: Tensor) -> Tensor:
        return kernels.product(*given[:2], given[2] if len(given) > 2 else None, plan)

    given = [t for t in inputs if t is not None]
    assert gradcheck(run, given)
    assert gradgradcheck(run, given)


@pytest.mark.parametrize("isa", [0, 1, 2])
def test_every_instruction_set(isa: int, use_instruction_set: Callable[[int], None]) -> None:
    plan = PLANS["channelwise"]
    if isa > library.instruction_set():
        pytest.skip("this processor has no such instructions")
    expected = derivatives(plan, inputs_of(plan))
    use_instruction_set(isa)
    for ours, theirs in zip(derivatives(plan, inputs_of(plan)), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11 * float(theirs.detach().abs().max()))


def test_threads_do_not_change_a_bit(restore_threads: None) -> None:
    plan = PLANS["channelwise"]
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(derivatives(plan, inputs_of(plan, rows=600, dtype=torch.float32))[:5])
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


@pytest.mark.parametrize("rows", [0, 1, 8, 9])
def test_any_number_of_rows(rows: int) -> None:
    plan = PLANS["channelwise"]
    x, y, _ = inputs_of(plan, rows)
    out = kernels.product(x, y, None, plan)
    with kernels.use("reference"):
        torch.testing.assert_close(out, kernels.product(x, y, None, plan), rtol=1e-12, atol=1e-12)


def test_what_falls_to_the_reference() -> None:
    """Terms of several numbers of copies, an output without a path, and weights for each row."""
    assert not aligned.runs(plan_elementwise("3x0e + 2x1o", "3x1o + 2x1o"))
    assert not aligned.runs(plan_explicit("3x0e", "3x1o", "3x1o + 3x0e", [(0, 0, 0, "uuu", False)]))
    assert not aligned.runs(plan_channelwise("3x0e", "1o"))
    plan = PLANS["with weights"]
    x, y, w = inputs_of(plan)
    assert w is not None
    rows = w.expand(len(x), -1).clone()
    torch.testing.assert_close(kernels.product(x, y, rows, plan), kernels.product(x, y, w, plan))
    assert type(kernels.product(x, y, rows, plan).grad_fn).__name__ != "symmetric_productBackward"


@pytest.mark.parametrize("name", PLANS)
def test_plans_as_text(name: str) -> None:
    plan = PLANS[name]
    assert aligned.read(aligned.text_of(plan)) == plan


@pytest.mark.parametrize("text", ["copies|3x0e|3x0e|3x0e|0,1,0,0,0x1p0", "copies|3x0e|2x0e|3x0e|0,0,0,0,0x1p0"])
def test_texts_that_do_not_fit(text: str) -> None:
    with pytest.raises(ValueError, match="a product whose parts do not fit together"):
        aligned.read(text)

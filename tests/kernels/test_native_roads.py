"""Whoever looks on while an operator runs, and whatever tensors it is given: it gives the right numbers, or says why
not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any

import pytest
import torch
from support.native import needs_native
from support.operators import OPERATORS, SAMPLES
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

pytestmark = needs_native


def tensors(name: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
    """The tensors of a sample, with other numbers for each seed; weights are a parameter."""
    generator = torch.Generator().manual_seed(seed)
    given = [t.detach() for t in SAMPLES[name] if isinstance(t, Tensor)]
    return [
        torch.randn(t.shape, generator=generator, dtype=torch.float64).to(dtype) if t.is_floating_point() else t.clone()
        for t in given
    ]


def call(name: str) -> Callable[..., tuple[Tensor, ...]]:
    """The operator as a function of its tensors alone, as our modules call it."""
    constants = [item for item in SAMPLES[name] if not isinstance(item, Tensor)]

    def run(*given: Tensor) -> tuple[Tensor, ...]:
        out = OPERATORS[name](*given, *constants)
        return out if isinstance(out, tuple) else (out,)

    return run


def assert_equal(own: Any, expected: Any) -> None:
    torch.testing.assert_close(own, expected, atol=0, rtol=0)


class _Watching(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(str(function))
        return function(*args, **(kwargs or {}))


class _Listening(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(str(function))
        return function(*args, **(kwargs or {}))


class Named(Tensor):
    """A subclass as torch makes it easy, which hears of every function."""


class Wrapped(Tensor):
    """A subclass without memory of its own, which hears of every operator."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Wrapped:
        wrapped = Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, device=inner.device)
        wrapped.inner = inner
        return wrapped

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        opened = [arg.inner if isinstance(arg, Wrapped) else arg for arg in args]
        out = function(*opened, **(kwargs or {}))
        return tuple(map(Wrapped, out)) if isinstance(out, tuple) else Wrapped(out)


def negative(t: Tensor) -> Tensor:
    """The same numbers, as a view whose sign is still to be turned."""
    return torch.complex(torch.zeros_like(t), -t).conj().imag if t.is_floating_point() else t


def expanded(t: Tensor) -> Tensor:
    """The same numbers, in a view of a larger tensor with steps in all axes."""
    larger = torch.stack([t, t], dim=-1)
    return torch.stack([larger, larger])[1, ..., 1]


KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "a parameter": lambda t: torch.nn.Parameter(t, requires_grad=False),
    "a subclass": lambda t: t.as_subclass(Named),
    "a wrapper": Wrapped,
    "a sign to be turned": negative,
    "steps": expanded,
    "a copy": copy.deepcopy,
    "DLPack": torch.from_dlpack,
    "NumPy": lambda t: torch.from_numpy(t.numpy()),
    "shared memory": lambda t: t.clone().share_memory_(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SAMPLES)
def test_kinds_of_tensors(name: str, kind: str) -> None:
    """Each tensor by itself, then all."""
    given, run = tensors(name), call(name)
    expected = run(*given)
    changed = [KINDS[kind](t) for t in given]
    some = [[*given[:n], changed[n], *given[n + 1 :]] for n in range(len(given))]
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            for inputs in (*some, changed):
                out = [o.inner if isinstance(o, Wrapped) else o.as_subclass(Tensor) for o in run(*inputs)]
                assert_equal(tuple(o.resolve_neg() for o in out), expected)


@pytest.mark.parametrize("name", SAMPLES)
def test_tensors_of_inference(name: str) -> None:
    given, run = tensors(name), call(name)
    expected = run(*given)
    with torch.inference_mode():
        frozen = [t.clone() for t in given]
        assert_equal(run(*frozen), expected)
        assert_equal(run(*given), expected)
    with torch.no_grad():
        assert_equal(run(*frozen), expected)


@pytest.mark.parametrize("mode", ["no_grad", "inference_mode", "enable_grad"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_traced_operator_reads_its_inputs(name: str, dtype: torch.dtype, mode: str) -> None:
    run = call(name)
    with getattr(torch, mode)():
        traced = torch.jit.trace(run, tuple(tensors(name, dtype)), check_trace=False)
        for seed in (0, 1):
            given = tensors(name, dtype, seed)
            assert_equal(tuple(traced(*given)), run(*given))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_graph_reads_its_inputs(name: str) -> None:
    run = call(name)
    graph = make_fx(run)(*tensors(name))
    assert [node for node in graph.graph.nodes if "e3frame" in str(node.target)]
    given = tensors(name, seed=1)
    assert_equal(tuple(graph(*given)), run(*given))


@pytest.mark.parametrize("name", SAMPLES)
def test_modes_see_the_operator(name: str) -> None:
    given, run = tensors(name), call(name)
    expected = run(*given)
    for mode in (_Watching(), _Listening()):
        with mode:
            assert_equal(run(*given), expected)
        assert [seen for seen in mode.seen if name in seen]
    for device in ("meta", "cpu"):
        with torch.device(device):
            assert_equal(run(*given), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert_equal(run(*given), expected)


@pytest.mark.parametrize("name", SAMPLES)
def test_tensors_without_numbers(name: str) -> None:
    """Fake ones, those of the device meta, and what they say of the result."""
    given, run = tensors(name), call(name)
    shapes = [o.shape for o in run(*given)]
    for grad in (False, True):
        with torch.set_grad_enabled(grad), FakeTensorMode() as mode:
            assert [o.shape for o in run(*map(mode.from_tensor, given))] == shapes
        assert [(o.shape, o.device.type) for o in run(*(t.to("meta") for t in given))] == [(s, "meta") for s in shapes]


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", SAMPLES)
def test_a_batch_is_a_loop(name: str) -> None:
    first, second, run = tensors(name), tensors(name, seed=1), call(name)
    real = tuple(t.is_floating_point() for t in first)
    stacked = [torch.stack(pair) if r else pair[0] for r, *pair in zip(real, first, second, strict=True)]
    out = torch.func.vmap(run, in_dims=tuple(0 if r else None for r in real))(*stacked)
    assert_equal(tuple(out), tuple(map(torch.stack, zip(run(*first), run(*second), strict=True))))


@pytest.mark.parametrize("name", SAMPLES)
def test_tangents_are_refused_not_dropped(name: str) -> None:
    """Modules have plain torch for them, which is tested with each; these are the operators by themselves."""
    given, run = tensors(name), call(name)

    def dual(n: int, requires_grad: bool) -> None:
        with forward_ad.dual_level():
            tangent = forward_ad.make_dual(given[n].clone().requires_grad_(requires_grad), given[n])
            run(*given[:n], tangent, *given[n + 1 :])

    def pushed(n: int) -> None:
        torch.func.jvp(lambda t: run(*given[:n], t, *given[n + 1 :]), (given[n],), (given[n],))

    for n in (n for n, tensor in enumerate(given) if tensor.is_floating_point()):
        for attempt in (partial(dual, n, False), partial(dual, n, True), partial(pushed, n)):
            with pytest.raises(RuntimeError, match=r"has no forward-mode derivative|implement the jvp|functorch"):
                attempt()


BAD: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "freed": (lambda t: _resized(t, 0), "whose memory has been freed"),
    "cut": (lambda t: _resized(t, 8), "whose memory has been freed"),
    "sparse": (lambda t: t.to_sparse(), "needs dense tensors, got one that is sparse_coo"),
    "nested": (
        lambda t: torch.nested.nested_tensor([t.double()], layout=torch.strided),
        "needs dense tensors, got one that is nested",
    ),
    "quantized": (lambda t: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8), "qint8"),
    "mkldnn": (lambda t: t.float().to_mkldnn(), "needs dense tensors, got one that is _mkldnn"),
    "meta": (lambda t: t.to("meta"), "needs all tensors on one device, got some on cpu and some on meta"),
    "a list": (lambda t: "a list", "Expected a value of type"),
    "None": (lambda t: None, "needs tensors, got None for one of them"),
}


def _resized(tensor: Tensor, size: int) -> Tensor:
    tensor = tensor.clone()
    tensor.untyped_storage().resize_(size)
    return tensor


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:.*quantiz")
@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("name", SAMPLES)
def test_what_cannot_be_read_is_refused(name: str, kind: str) -> None:
    given, run = tensors(name), call(name)
    change, message = BAD[kind]
    missing = [str(a.type) != "Tensor" for a in getattr(torch.ops.e3frame, name).default._schema.arguments]
    for n, tensor in enumerate(given):
        if (kind == "meta" and len(given) == 1) or (kind == "None" and missing[n]):
            continue
        inputs = [*given[:n], change(tensor), *given[n + 1 :]]
        for mode in (nullcontext(), torch.no_grad(), torch.device("cpu")):
            with mode, pytest.raises((ValueError, TypeError, RuntimeError), match=message):
                run(*inputs)


@pytest.mark.parametrize("name", SAMPLES)
def test_memory_that_is_freed_before_the_derivative(name: str) -> None:
    """It is refused, or it is not read: then the derivatives are those of before."""
    for n in range(len(tensors(name))):
        given = [t.requires_grad_(t.is_floating_point()) for t in tensors(name)]
        others = [t for k, t in enumerate(given) if t.requires_grad and k != n]
        given[n] = given[n].detach().clone().requires_grad_(given[n].requires_grad)
        out = sum(o.square().sum() for o in call(name)(*given))
        if not others or not out.requires_grad:
            continue
        expected = torch.autograd.grad(out, others, allow_unused=True, retain_graph=True)
        given[n].untyped_storage().resize_(0)
        with suppress(ValueError):
            found = torch.autograd.grad(out, others, allow_unused=True)
            assert_equal(found, expected)


def test_empty_tensors_need_no_memory() -> None:
    """No rows, that begin beyond the end of their memory."""
    tensor = torch.randn(4, 3, dtype=torch.float64)[4:]
    tensor.untyped_storage().resize_(0)
    assert OPERATORS["harmonics"](tensor, SAMPLES["harmonics"][1]).shape == (0, 6)

"""What must hold for every module of the algebra: a case is a module with arguments, a check takes a case."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["CHECKS", "Call", "Case", "run_check"]


@dataclass(frozen=True)
class Case:
    """A module, the arguments of one call, and what cannot hold: for each such check why, and what torch then says."""

    make: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    others: tuple[Any, ...] = ()
    without: dict[str, tuple[str, str]] = field(default_factory=dict)
    training: bool = True

    def module(self) -> nn.Module:
        torch.manual_seed(0)
        return self.make().train(self.training)

    def arguments(self, seed: int = 1) -> tuple[Any, ...]:
        """Numbers of the given shapes, then the others: indices and counts."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.randn(shape, generator=generator) for shape in self.shapes) + self.others


class Call(nn.Module):
    """A method of a module or of irreps, as a module."""

    def __init__(self, owner: Any, method: str) -> None:
        super().__init__()
        self.owner, self.method = owner, method

    def forward(self, *arguments: Any) -> Any:
        return getattr(self.owner, self.method)(*arguments)


def run(f: Callable[..., Any], *arguments: Any) -> Any:
    """Call f from the same state of the generator, for what draws at random."""
    torch.manual_seed(2)
    return f(*arguments)


def assert_same(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, atol=0, rtol=0)


def check_copy(case: Case) -> None:
    module, xs = case.module(), case.arguments()
    expected = run(module, *xs)
    assert_same(run(copy.deepcopy(module), *xs), expected)
    assert_same(run(pickle.loads(pickle.dumps(module)), *xs), expected)


def check_state(case: Case) -> None:
    module, xs = case.module(), case.arguments()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))
    run(module, *xs)  # running averages, if there are any, become those of the arguments
    again = case.module()
    again.load_state_dict(module.state_dict(), strict=True)
    assert_same(again.state_dict(), module.state_dict())
    assert_same(run(again, *xs), run(module, *xs))
    assert_same(run(again.eval(), *xs), run(module.eval(), *xs))


def check_cast(case: Case) -> None:
    """Weights that float32 holds exactly come back as they were; so must everything else."""
    module, xs = case.module(), case.arguments()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter.float())
    expected = run(module, *xs)
    single = run(module.to(torch.float32), *(x.float() if is_real(x) else x for x in xs))
    torch.testing.assert_close(single, as_float32(expected), atol=2e-4, rtol=2e-4)
    assert_same(run(module.to(torch.float64), *xs), expected)


def check_compile(case: Case, backend: str = "aot_eager") -> None:
    module, xs = case.module(), case.arguments()
    expected = run(module, *xs)
    torch.compiler.reset()
    torch.testing.assert_close(run(torch.compile(module, fullgraph=True, backend=backend), *xs), expected)


def check_export(case: Case) -> None:
    module, xs = case.module(), case.arguments()
    expected = run(module, *xs)
    torch.testing.assert_close(run(torch.export.export(module, xs).module(), *xs), expected)


def check_vmap(case: Case) -> None:
    module, first, second = case.module(), case.arguments(), case.arguments(seed=5)
    mapped = [isinstance(x, Tensor) and (is_real(x) or not case.shapes) for x in first]
    xs = [torch.stack(pair) if m else pair[0] for m, *pair in zip(mapped, first, second, strict=True)]
    out = torch.func.vmap(module, in_dims=tuple(0 if m else None for m in mapped))(*xs)
    singles = [as_tuple(run(module, *ys)) for ys in (first, second)]
    for actual, *expected in zip(as_tuple(out), *singles, strict=True):
        torch.testing.assert_close(actual, torch.stack(expected))


def check_jvp(case: Case) -> None:
    """J t by forward mode and Jᵀ v by reverse mode are of one J, in the arguments and the parameters."""
    f, primals = as_function(case)
    tangents = tuple(torch.randn_like(x) for x in primals)
    out, forward = torch.func.jvp(f, primals, tangents)
    cotangents = tuple(torch.randn_like(y) for y in out)
    _, pull = torch.func.vjp(f, *primals)
    one = sum((v * u).sum() for v, u in zip(cotangents, forward, strict=True))
    other = sum((g * t).sum() for g, t in zip(pull(cotangents), tangents, strict=True))
    assert any(u.abs().max() > 0 for u in forward)
    torch.testing.assert_close(one, other)


def check_dual(case: Case) -> None:
    """Dual numbers have the tangents that ``torch.func.jvp`` has, whether reverse mode looks on or not."""
    f, primals = as_function(case)
    tangents = tuple(torch.randn_like(x) for x in primals)
    _, expected = torch.func.jvp(f, primals, tangents)
    for requires_grad in (False, True):
        with forward_ad.dual_level():
            pairs = zip(primals, tangents, strict=True)
            duals = [forward_ad.make_dual(x.clone().requires_grad_(requires_grad), t) for x, t in pairs]
            found = [forward_ad.unpack_dual(y).tangent for y in f(*duals)]
        for own, other in zip(found, expected, strict=True):
            torch.testing.assert_close(torch.zeros_like(other) if own is None else own, other)


def check_trace(case: Case) -> None:
    """A traced module reads its inputs: other numbers, and other numbers of rows."""
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        module, xs = case.module(), case.arguments()
        with mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(2)
            traced = torch.jit.trace(_OfTensors(module, xs), only_tensors(xs), check_trace=False)
            for ys in (case.arguments(seed=5), twice(case.arguments(seed=7))):
                torch.testing.assert_close(run(traced, *only_tensors(ys)), run(module, *ys))


class _OfTensors(nn.Module):
    """A module as a function of its tensors alone, which is what a tracer takes."""

    def __init__(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        super().__init__()
        self.module = module
        self.others = [None if isinstance(x, Tensor) else x for x in arguments]

    def forward(self, *tensors: Tensor) -> Any:
        left = iter(tensors)
        return self.module(*(next(left) if x is None else x for x in self.others))


def only_tensors(arguments: tuple[Any, ...]) -> tuple[Tensor, ...]:
    return tuple(x for x in arguments if isinstance(x, Tensor))


def twice(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Each row two times, and each index."""
    return tuple(
        torch.cat([x, x], dim=0 if is_real(x) else -1) if isinstance(x, Tensor) and x.ndim else x for x in arguments
    )


def check_watched(case: Case) -> None:
    """The same under modes that see every operator or function, with a default device, and with subclasses."""
    module, xs = case.module(), case.arguments()
    expected = run(module, *xs)
    for mode in (_Watching(), _Listening(), torch.device("cpu")):
        with mode:
            assert_same(run(module, *xs), expected)
    named = [x.as_subclass(_Named) if isinstance(x, Tensor) else x for x in xs]
    out = run(module, *named)
    assert_same([y.as_subclass(Tensor) for y in as_tuple(out)], list(as_tuple(expected)))


class _Watching(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


class _Listening(TorchFunctionMode):
    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


class _Named(Tensor):
    pass


def check_second_derivatives(case: Case) -> None:
    f, primals = as_function(case)
    assert torch.autograd.gradgradcheck(f, tuple(x.requires_grad_() for x in primals), fast_mode=True)


def check_no_rows(case: Case) -> None:
    """Of nothing comes nothing, with derivatives that are finite, and nothing is learned from it."""
    for training in (True, False):
        module = case.module().train(training)
        usual = as_tuple(run(copy.deepcopy(module), *case.arguments()))
        xs = [torch.zeros(0, *shape[1:]).requires_grad_() for shape in case.shapes]
        others = [x[..., :0] if isinstance(x, Tensor) else x for x in case.others]
        before = copy.deepcopy(module.state_dict())
        outs = as_tuple(run(module, *xs, *others))
        assert_same(dict(module.state_dict()), dict(before))
        for out, other in zip(outs, usual, strict=True):
            assert out.ndim == other.ndim
            assert (out == 0).all() or torch.equal(out, other)  # nothing, sums of nothing, or what no row changes
            assert len(case.shapes) > 1 or out.numel() > 0 or out.shape[1:] == other.shape[1:]
        primals = [*xs, *module.parameters()]
        real = [out for out in outs if out.requires_grad]
        if real:
            slopes = torch.autograd.grad([out.sum() for out in real], primals, allow_unused=True, create_graph=True)
            assert all(slope is None or (slope == 0).all() for slope in slopes)


def check_other_types(case: Case) -> None:
    """Integers and short floats give what the same numbers give in the default type, or are refused by torch."""
    for dtype in (torch.int64, torch.int32, torch.bool, torch.float16, torch.bfloat16):
        xs = [(2 * x).round().clamp(0, 1 if dtype is torch.bool else 3) for x in case.arguments()[: len(case.shapes)]]
        expected = as_tuple(run(case.module(), *xs, *case.others))
        try:
            found = as_tuple(run(case.module(), *(x.to(dtype) for x in xs), *case.others))
        except (RuntimeError, TypeError, ValueError):
            continue
        close = 0.05 if dtype.is_floating_point else 1e-12
        for out, right in zip(found, expected, strict=True):
            scale = max(1.0, right.abs().max().item())
            torch.testing.assert_close(out.to(right.dtype), right, atol=close * scale, rtol=0)


def as_function(case: Case) -> tuple[Callable[..., tuple[Tensor, ...]], tuple[Tensor, ...]]:
    """The module as a function of its real arguments and its parameters, and those."""
    module, xs = case.module(), case.arguments()
    names = [name for name, _ in module.named_parameters()]
    real = xs[: len(case.shapes)]

    def f(*primals: Tensor) -> tuple[Tensor, ...]:
        parameters = dict(zip(names, primals[len(real) :], strict=True))
        # What a module updates in place must be made within the transform, too.
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        arguments = (*primals[: len(real)], *case.others)
        return as_tuple(run(lambda: torch.func.functional_call(module, (parameters, buffers), arguments)))

    return f, (*real, *(parameter.detach().clone() for parameter in module.parameters()))


def is_real(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


def as_tuple(out: Any) -> tuple[Tensor, ...]:
    return (out,) if isinstance(out, Tensor) else tuple(out)


def as_float32(out: Any) -> Any:
    if isinstance(out, Tensor):
        return out.float() if is_real(out) else out
    return type(out)(*map(as_float32, out)) if hasattr(out, "_fields") else type(out)(map(as_float32, out))


CHECKS: dict[str, Callable[[Case], None]] = {
    "copy": check_copy,
    "no rows": check_no_rows,
    "other types": check_other_types,
    "state": check_state,
    "cast": check_cast,
    "compile": check_compile,
    "inductor": lambda case: check_compile(case, "inductor"),
    "export": check_export,
    "vmap": check_vmap,
    "jvp": check_jvp,
    "dual": check_dual,
    "trace": check_trace,
    "watched": check_watched,
    "second derivatives": check_second_derivatives,
}


def run_check(name: str, case: Case) -> None:
    """What cannot hold must fail, and say so in the words that the case foresees."""
    if name not in case.without:
        return CHECKS[name](case)
    with pytest.raises(Exception, match=case.without[name][1]):
        CHECKS[name](case)
    return None

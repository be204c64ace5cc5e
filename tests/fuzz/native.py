"""Native operators with tensors of every kind: what they give is what plain torch gives, or they say why not."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from support.fuzzing import Area, Case
from support.operators import OPERATORS, SAMPLES
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

Change = Callable[[Tensor, Random], Any]


class Named(Tensor):
    """A subclass that hears of every function."""


def _resized(t: Tensor, size: int) -> Tensor:
    t = t.clone()
    t.untyped_storage().resize_(size)
    return t


def _negative(t: Tensor) -> Tensor:
    return torch.complex(torch.zeros_like(t), -t).conj().imag if t.is_floating_point() else t


def _strided(t: Tensor, random: Random) -> Tensor:
    axis = random.randint(0, t.ndim)
    return torch.stack([t, torch.zeros_like(t)], dim=axis).select(axis, 0)


def _transposed(t: Tensor) -> Tensor:
    return t.T.contiguous().T if t.ndim == 2 else t


def _offset(t: Tensor) -> Tensor:
    return torch.cat([torch.zeros(3, dtype=t.dtype), t.flatten()])[3:].view(t.shape)


def _inference(t: Tensor) -> Tensor:
    with torch.inference_mode():
        return t.clone()


SAME: dict[str, Change] = {
    "strides": _strided,
    "transposed": lambda t, r: _transposed(t),
    "offset": lambda t, r: _offset(t),
    "sign": lambda t, r: _negative(t),
    "subclass": lambda t, r: t.as_subclass(Named),
    "parameter": lambda t, r: torch.nn.Parameter(t, requires_grad=False),
    "inference": lambda t, r: _inference(t),
    "requires grad": lambda t, r: t.clone().requires_grad_(t.is_floating_point()),
    "shared": lambda t, r: t.clone().share_memory_(),
    "numpy": lambda t, r: torch.from_numpy(np.array(t)),
}
"""Other tensors of the same numbers."""

OTHER: dict[str, Change] = {
    "freed": lambda t, r: _resized(t, 0),
    "cut": lambda t, r: _resized(t, r.randint(0, max(t.nbytes - 1, 0))),
    "expanded": lambda t, r: t[:1].expand(t.shape),
    "meta": lambda t, r: t.to("meta"),
    "sparse": lambda t, r: t.to_sparse(),
    "nested": lambda t, r: torch.nested.nested_tensor([t.double()], layout=torch.strided),
    "quantized": lambda t, r: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.quint8),
    "mkldnn": lambda t, r: t.float().to_mkldnn(),
    "zero": lambda t, r: torch._efficientzerotensor(t.shape, dtype=t.dtype),
    "float32": lambda t, r: t.float(),
    "bfloat16": lambda t, r: t.bfloat16(),
    "complex": lambda t, r: t.to(torch.complex128).conj(),
    "int32": lambda t, r: t.int(),
    "bool": lambda t, r: t.bool(),
    "empty": lambda t, r: t[:0],
    "no axes": lambda t, r: t.flatten()[0],
    "longer": lambda t, r: torch.cat([t, t]),
    "shorter": lambda t, r: t[:-1],
    "narrower": lambda t, r: t[..., :-1],
    "wider": lambda t, r: torch.cat([t, t], dim=-1),
    "axis": lambda t, r: t.unsqueeze(r.randint(0, t.ndim)),
    "huge": lambda t, r: torch.full_like(t, 10 ** r.randint(3, 18)),
    "negative": lambda t, r: -t - 1,
    "nan": lambda t, r: t * math.nan if t.is_floating_point() else t,
    "none": lambda t, r: None,
    "list": lambda t, r: t.tolist(),
    "array": lambda t, r: t.numpy(),
    "number": lambda t, r: 1.0,
    "a view of one": lambda t, r: torch.zeros(1, dtype=t.dtype).expand(10**6, *t.shape[1:]),
}
"""Other arguments."""

CONSTANTS: dict[type, list[Any]] = {
    int: [-1, 0, 1, 3, 10**6, 2**31, 2**63 - 1, 2**64, None, "1", 1.5],
    bool: [True, False, None, 2],
    str: ["", "|", "1x0e|1x0e|1|0 0 0 0 1 0x1p+0", "0 0x1p+0 0x1p+0", "\x00", "9" * 400, None, 7],
}
ROADS = (
    "operator",
    "dispatcher",
    "no_grad",
    "inference_mode",
    "function mode",
    "trace",
    "graph",
    "fake",
    "dual",
    "vmap",
)
REFUSALS = (ValueError, TypeError, IndexError, RuntimeError, MemoryError, OverflowError)


def prepare(folder: Path) -> dict[str, tuple[list[Any], tuple[Tensor, ...]]]:
    """The arguments of each operator, and what it gives."""
    torch.set_num_threads(1)
    import_module("torch._dynamo")  # which some kinds of tensors make torch import, for seconds
    state = {}
    for name in sorted(SAMPLES):
        arguments = [t.detach().clone() if isinstance(t, Tensor) else t for t in SAMPLES[name]]
        state[name] = (arguments, _tuple(OPERATORS[name](*arguments)))
    return state


def case(state: dict[str, tuple[list[Any], tuple[Tensor, ...]]], random: Random, number: int, folder: Path) -> Case:
    name = random.choice(sorted(state))
    given, expected = state[name]
    arguments, done, same = list(given), [], True
    for _ in range(random.randint(0, 2)):
        place = random.randrange(len(arguments))
        item = given[place]
        if not isinstance(item, Tensor):
            arguments[place], what, same = random.choice(CONSTANTS[type(item)]), "constant", False
        elif random.random() < 0.5:
            what = random.choice(sorted(SAME))
            arguments[place] = partial(SAME[what], item, random)
        else:
            what, same = random.choice(sorted(OTHER)), False
            arguments[place] = partial(OTHER[what], item, random)
        done.append(f"{place}: {what}")
    road = random.choice(ROADS)
    label = f"{name}, {road}, {', '.join(done) or 'as it is'}"
    return Case(label, lambda: _run(name, road, arguments, expected if same else None))


def _run(name: str, road: str, arguments: list[Any], expected: tuple[Tensor, ...] | None) -> int:
    logging.disable()  # torch writes tracebacks of what it raises
    try:
        made = [argument() if isinstance(argument, partial) else argument for argument in arguments]
    except REFUSALS:
        return 0  # there is no such tensor
    try:
        out = _tuple(_on_road(name, road, made))
    except REFUSALS as error:
        if not str(error):
            raise
        if expected is not None and road != "dual":
            raise AssertionError(f"refused without need: {error}") from error
        return 0
    if road == "dual":
        raise AssertionError("a tangent was dropped")
    if expected is not None and road != "fake":
        for own, other in zip(out, expected, strict=True):
            own = own.as_subclass(Tensor).resolve_neg().detach()
            torch.testing.assert_close(own, other, rtol=0, atol=0)
    return 0


def _on_road(name: str, road: str, arguments: list[Any]) -> Any:
    operator, places = OPERATORS[name], [n for n, item in enumerate(arguments) if isinstance(item, Tensor)]
    tensors = [arguments[n] for n in places]

    def call(*given: Tensor) -> Any:
        filled = list(arguments)
        for n, tensor in zip(places, given, strict=True):
            filled[n] = tensor
        return operator(*filled)

    if road == "dispatcher":
        return getattr(torch.ops.e3frame, name)(*arguments)
    if road == "trace" and tensors:
        return torch.jit.trace(call, tuple(tensors), check_trace=False)(*tensors)
    if road == "graph":
        return make_fx(call)(*tensors)(*tensors)
    if road == "vmap" and tensors:
        stacked = [tensors[0].unsqueeze(0), *tensors[1:]]
        out = torch.func.vmap(call, in_dims=(0, *(None for _ in tensors[1:])))(*stacked)
        return tuple(t[0] for t in _tuple(out))
    if road == "fake":
        with FakeTensorMode() as mode:
            return call(*map(mode.from_tensor, tensors))
    if road == "dual":
        with forward_ad.dual_level():
            return call(*(_dual(t) for t in tensors))
    with _context(road):
        return call(*tensors)


def _dual(t: Tensor) -> Tensor:
    return forward_ad.make_dual(t, torch.ones_like(t)) if t.is_floating_point() else t


def _context(road: str) -> AbstractContextManager:
    contexts = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}
    return torch.device("meta") if road == "function mode" else contexts.get(road, nullcontext)()


def _tuple(out: Any) -> tuple[Tensor, ...]:
    return out if isinstance(out, tuple) else (out,)


AREA = Area("native", prepare, case, placed=False)

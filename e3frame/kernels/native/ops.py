"""The kernels as operators of torch: ``convolution``, its gradients, and the gradients of those.

The three are ∂T/∂o, (∂T/∂x, ∂T/∂y, ∂T/∂w), and all four derivatives of T(ax, y, w, o) + T(x, ay, w, o) + T(x, y, aw, o).
The derivative of the third is a sum of the first two, so that they can be differentiated to any order.

A tensor that is not wanted, or that is zero, is empty: ``wanted`` has a bit for each of gx, gy, gw (and go).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from e3frame.kernels.native import library
from e3frame.kernels.native.plans import Compiled, compiled

GX, GY, GW, GO = 1, 2, 4, 8

_EDGES = "Tensor edge_index"
torch.library.define(
    "e3frame::convolution", f"(Tensor x, {_EDGES}, Tensor y, Tensor w, str plan, SymInt num_nodes) -> Tensor"
)
torch.library.define(
    "e3frame::convolution_backward",
    f"(Tensor x, {_EDGES}, Tensor y, Tensor w, Tensor o, str plan, int wanted) -> (Tensor, Tensor, Tensor)",
)
torch.library.define(
    "e3frame::convolution_twice",
    f"(Tensor x, {_EDGES}, Tensor y, Tensor w, Tensor o, Tensor ax, Tensor ay, Tensor aw, str plan, int wanted)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
)
_forward = torch.ops.e3frame.convolution.default
_backward = torch.ops.e3frame.convolution_backward.default
_twice = torch.ops.e3frame.convolution_twice.default


class _Grouped:
    """The edges of one ``edge_index`` by target and by source."""

    def __init__(self, edge_index: Tensor, num_sources: int, num_targets: int) -> None:
        index = edge_index.contiguous()
        target_ptr, by_target = library.group(index[1], num_targets)
        source_ptr, by_source = library.group(index[0], num_sources)
        self.sizes = (num_sources, num_targets)
        self.version = _version(edge_index)
        self.kept = (index, by_target, target_ptr, by_source, source_ptr)
        pointers = [t.data_ptr() for t in (index[0], index[1], *self.kept[1:])]
        self.struct = library.Edges(index.shape[1], num_sources, num_targets, *pointers)


# A batch has one edge_index, which every layer and every derivative of it reads: group its edges once.
_grouped: WeakIdKeyDictionary = WeakIdKeyDictionary()


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _edges(edge_index: Tensor, num_sources: int, num_targets: int) -> library.Edges:
    known = _grouped.get(edge_index)
    if known is None or known.version != _version(edge_index) or known.sizes != (num_sources, num_targets):
        known = _grouped[edge_index] = _Grouped(edge_index, num_sources, num_targets)
    return known.struct


def _weights(w: Tensor, plan: Compiled) -> Tensor:
    """In the order of the kernels."""
    return w.contiguous() if plan.order is None or w.numel() == 0 else w[..., plan.order].contiguous()


def _own_weights(gw: Tensor, plan: Compiled) -> Tensor:
    """In the order of the plan again."""
    if plan.order is None or gw.numel() == 0:
        return gw
    out = torch.empty_like(gw)
    out[..., plan.order] = gw
    return out


def _pointer(tensor: Tensor) -> int | None:
    return tensor.data_ptr() if tensor.numel() else None


def _tensors(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> library.Tensors:
    """Of x, y, w, o, ax, ay, aw and out, gx, gy, gw; empty ones are absent."""
    w, aw = inputs[2], inputs[6]
    steps = [t.shape[1] if t.ndim == 2 else 0 for t in (w, aw)]
    return library.Tensors(*map(_pointer, inputs), *steps, *map(_pointer, outputs))


@torch.library.impl("e3frame::convolution", "CPU")
def _forward_cpu(x: Tensor, edge_index: Tensor, y: Tensor, w: Tensor, plan: str, num_nodes: int) -> Tensor:
    own = compiled(plan)
    none = x.new_empty(0)
    x, y, w = x.contiguous(), y.contiguous(), _weights(w, own)
    out = x.new_empty(num_nodes, own.dims[3])
    edges = _edges(edge_index, len(x), num_nodes)
    tensors = _tensors((x, y, w, none, none, none, none), (out, none, none, none))
    library.convolve(own.struct, edges, tensors, x.dtype, backward=False, twice=False)
    return out


@torch.library.impl("e3frame::convolution_backward", "CPU")
def _backward_cpu(
    x: Tensor, edge_index: Tensor, y: Tensor, w: Tensor, o: Tensor, plan: str, wanted: int
) -> tuple[Tensor, Tensor, Tensor]:
    own = compiled(plan)
    none = x.new_empty(0)
    x, y, w, o = x.contiguous(), y.contiguous(), _weights(w, own), o.contiguous()
    gx, gy, gw = (torch.empty_like(t) if wanted & bit else none for t, bit in ((x, GX), (y, GY), (w, GW)))
    edges = _edges(edge_index, len(x), len(o))
    tensors = _tensors((x, y, w, o, none, none, none), (none, gx, gy, gw))
    library.convolve(own.struct, edges, tensors, x.dtype, backward=True, twice=False)
    return gx, gy, _own_weights(gw, own)


@torch.library.impl("e3frame::convolution_twice", "CPU")
def _twice_cpu(
    x: Tensor,
    edge_index: Tensor,
    y: Tensor,
    w: Tensor,
    o: Tensor,
    ax: Tensor,
    ay: Tensor,
    aw: Tensor,
    plan: str,
    wanted: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    own = compiled(plan)
    none = x.new_empty(0)
    x, y, o, ax, ay = (t.contiguous() for t in (x, y, o, ax, ay))
    w, aw = _weights(w, own), _weights(aw, own)
    outs = [
        torch.empty_like(t) if wanted & bit else none for t, bit in ((o, GO), (x, GX), (y, GY), (w, GW))
    ]
    edges = _edges(edge_index, len(x), len(o))
    inputs = (x, y, w, o, ax, ay, aw)
    if wanted & GO:
        tensors = _tensors(inputs, (outs[0], none, none, none))
        library.convolve(own.struct, edges, tensors, x.dtype, backward=False, twice=True)
    if wanted & (GX | GY | GW):
        tensors = _tensors(inputs, (none, *outs[1:]))
        library.convolve(own.struct, edges, tensors, x.dtype, backward=True, twice=True)
    return outs[0], outs[1], outs[2], _own_weights(outs[3], own)


@torch.library.register_fake("e3frame::convolution")
def _forward_fake(x: Tensor, edge_index: Tensor, y: Tensor, w: Tensor, plan: str, num_nodes: int) -> Tensor:
    return x.new_empty(num_nodes, compiled(plan).dims[3])


@torch.library.register_fake("e3frame::convolution_backward")
def _backward_fake(
    x: Tensor, edge_index: Tensor, y: Tensor, w: Tensor, o: Tensor, plan: str, wanted: int
) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape if wanted & bit else 0) for t, bit in ((x, GX), (y, GY), (w, GW)))


@torch.library.register_fake("e3frame::convolution_twice")
def _twice_fake(
    x: Tensor, edge_index: Tensor, y: Tensor, w: Tensor, o: Tensor, ax: Tensor, ay: Tensor, aw: Tensor,
    plan: str, wanted: int,
) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape if wanted & bit else 0) for t, bit in ((o, GO), (x, GX), (y, GY), (w, GW)))


def _wanted(ctx: Any, places: Sequence[int]) -> int:
    return sum(bit for bit, place in zip((GX, GY, GW, GO), places, strict=False) if ctx.needs_input_grad[place])


def _given(gradient: Tensor, asked: int, bit: int) -> Tensor | None:
    return gradient if asked & bit else None


def _forward_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
    x, edge_index, y, w, ctx.plan, _ = inputs
    ctx.save_for_backward(x, edge_index, y, w)


def _forward_derivative(ctx: Any, o: Tensor) -> tuple:
    x, edge_index, y, w = ctx.saved_tensors
    wanted = _wanted(ctx, (0, 2, 3))
    gx, gy, gw = _backward(x, edge_index, y, w, o, ctx.plan, wanted)
    return _given(gx, wanted, GX), None, _given(gy, wanted, GY), _given(gw, wanted, GW), None, None


def _backward_context(ctx: Any, inputs: tuple, output: tuple) -> None:
    *tensors, ctx.plan, ctx.asked = inputs
    ctx.save_for_backward(*tensors)
    ctx.set_materialize_grads(False)


def _backward_derivative(ctx: Any, *cotangents: Tensor | None) -> tuple:
    x, edge_index, y, w, o = ctx.saved_tensors
    ax, ay, aw = (
        x.new_empty(0) if a is None or not ctx.asked & bit else a
        for a, bit in zip(cotangents, (GX, GY, GW), strict=True)
    )
    wanted = _wanted(ctx, (0, 2, 3, 4))
    go, gx, gy, gw = _twice(x, edge_index, y, w, o, ax, ay, aw, ctx.plan, wanted)
    gradients = (_given(g, wanted, bit) for g, bit in ((gx, GX), (gy, GY), (gw, GW), (go, GO)))
    gx, gy, gw, go = gradients
    return gx, None, gy, gw, go, None, None


def _twice_context(ctx: Any, inputs: tuple, output: tuple) -> None:
    *tensors, ctx.plan, ctx.asked = inputs
    ctx.save_for_backward(*tensors)
    ctx.set_materialize_grads(False)


def _twice_derivative(ctx: Any, *cotangents: Tensor | None) -> tuple:
    """Each of the three forms T(ax, y, w, o), T(x, ay, w, o), T(x, y, aw, o) in turn with each argument replaced by the
    cotangent of what was derived by it; their gradients are those of `_backward` and `_forward`."""
    x, edge_index, y, w, o, ax, ay, aw = ctx.saved_tensors
    bo, bx, by, bw = (
        b if b is not None and ctx.asked & bit else None for b, bit in zip(cotangents, (GO, GX, GY, GW), strict=True)
    )
    named = {"x": x, "y": y, "w": w, "o": o, "ax": ax, "ay": ay, "aw": aw, "bx": bx, "by": by, "bw": bw, "bo": bo}
    totals: dict[str, Tensor] = {}
    for form in _FORMS:
        arguments = [named[name] for name in form]
        if any(a is None or (n.startswith("a") and a.numel() == 0) for n, a in zip(form, arguments, strict=True)):
            continue
        fx, fy, fw, fo = arguments
        gradients = (*_backward(fx, edge_index, fy, fw, fo, ctx.plan, GX | GY | GW), None)
        gradients = (*gradients[:3], _forward(fx, edge_index, fy, fw, ctx.plan, len(o)))
        for name, gradient in zip(form, gradients, strict=True):
            totals[name] = totals[name] + gradient if name in totals else gradient
    x, y, w, o, ax, ay, aw = (totals.get(name) for name in ("x", "y", "w", "o", "ax", "ay", "aw"))
    return x, None, y, w, o, ax, ay, aw, None, None


_FORMS = (
    *(("ax", "y", "w", "bo"), ("ax", "by", "w", "o"), ("ax", "y", "bw", "o")),
    *(("x", "ay", "w", "bo"), ("bx", "ay", "w", "o"), ("x", "ay", "bw", "o")),
    *(("x", "y", "aw", "bo"), ("bx", "y", "aw", "o"), ("x", "by", "aw", "o")),
)

torch.library.register_autograd("e3frame::convolution", _forward_derivative, setup_context=_forward_context)
torch.library.register_autograd("e3frame::convolution_backward", _backward_derivative, setup_context=_backward_context)
torch.library.register_autograd("e3frame::convolution_twice", _twice_derivative, setup_context=_twice_context)

convolution = _forward

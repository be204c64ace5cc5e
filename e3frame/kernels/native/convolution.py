"""The convolution, its gradients, and the gradients of those.

The three operators are ∂T/∂o, (∂T/∂x, ∂T/∂y, ∂T/∂w), and all four derivatives of
T(ax, y, w, o) + T(x, ay, w, o) + T(x, y, aw, o). The derivative of the third is a sum of the first two, so that they
can be differentiated to any order.

``rows`` holds the row of w (and of aw and gw) for each edge; if it is None, edge e has row e.

A tensor that is zero or not needed is empty: ``wanted`` has a bit for each of gx, gy, gw and go.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import byref

import torch
from torch import Tensor

from e3frame.kernels.native import groups, library
from e3frame.kernels.native.operators import Operator, Values
from e3frame.kernels.native.plans import Compiled, compiled, weighted

GX, GY, GW, GO = 1, 2, 4, 8
_NAMES = ("x", "y", "w", "o", "ax", "ay", "aw")


def _weights(w: Tensor, plan: Compiled) -> Tensor:
    """Reorder weights from the order of the plan to that of the kernels."""
    if plan.order is None or w.numel() == 0:
        return w.contiguous()
    return w[..., torch.from_numpy(plan.order)].contiguous()


def _own_weights(gw: Tensor, plan: Compiled) -> Tensor:
    """Reorder gradients of weights from the order of the kernels to that of the plan."""
    if plan.order is None or gw.numel() == 0:
        return gw
    out = torch.empty_like(gw)
    out[..., torch.from_numpy(plan.order)] = gw
    return out


_Inputs = tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]
"""x, y, w, o, ax, ay, aw, all contiguous."""


def _pointer(tensor: Tensor | None) -> int | None:
    return tensor.data_ptr() if tensor is not None and tensor.numel() else None


def _convolve(
    plan: Compiled,
    edge_index: Tensor,
    inputs: _Inputs,
    outputs: tuple[Tensor | None, ...],
    rows: Tensor | None,
    twice: bool = False,
) -> None:
    """Run the library on x, y, w, o, ax, ay, aw -> out (or go), gx, gy, gw; None and empty tensors are left out."""
    _check(inputs, edge_index, rows, plan)
    x, _, w, o, *_, aw = inputs
    targets = o if o is not None else outputs[0]
    assert targets is not None
    edges = groups.edges(edge_index, x.shape[0], targets.shape[0])
    steps = [t.shape[1] if t is not None and t.ndim == 2 else 0 for t in (w, aw)]
    own = None if rows is None or not steps[0] else groups.copy(rows, w.shape[0])
    tensors = library.Tensors(*map(_pointer, inputs), *steps, *map(_pointer, (*outputs, own)), w.shape[0])
    run = library.kernels(x.dtype).convolve
    library.check(run(byref(plan.struct), byref(edges), byref(tensors), twice, library.threads()))


def _check(inputs: _Inputs, edge_index: Tensor, rows_of_w: Tensor | None, plan: Compiled) -> None:
    """Raise a ValueError if shapes or types do not fit: the library trusts what it is given."""
    x, y, w, *_ = inputs
    nodes, edges, dtype = x.shape[0], y.shape[0], x.dtype
    if edge_index.shape != (2, edges):
        raise ValueError(f"edge_index must have shape (2, {edges}), got {tuple(edge_index.shape)}")
    if rows_of_w is not None and rows_of_w.shape != (edges,):
        raise ValueError(f"rows must have shape ({edges},), got {tuple(rows_of_w.shape)}")
    num_weights = edges if rows_of_w is None else w.shape[0]
    for n, tensor in enumerate(inputs):
        if tensor is None or (n > 3 and tensor.numel() == 0):
            continue
        shape, name, dim = tensor.shape, _NAMES[n], plan.dims[n % 4]
        weights = name in ("w", "aw")
        rows = nodes if name in ("x", "ax") else shape[0] if name == "o" else num_weights if weights else edges
        if shape != (rows, dim) and not (weights and shape == (dim,)):
            raise ValueError(f"{name} must have shape ({rows}, {dim}), got {tuple(shape)}")
        if tensor.dtype != dtype:
            raise ValueError(f"{name} must be of the type of x, {dtype}, got {tensor.dtype}")


def _forward(
    x: Tensor, edge_index: Tensor, y: Tensor, w: Tensor, rows: Tensor | None, plan: str, num_nodes: int
) -> Tensor:
    own = compiled(plan)
    out = x.new_empty(num_nodes, own.dims[3])
    inputs = (x.contiguous(), y.contiguous(), _weights(w, own), None, None, None, None)
    _convolve(own, edge_index, inputs, (out, None, None, None), rows)
    return out


def _backward(
    x: Tensor, edge_index: Tensor, y: Tensor, w: Tensor, rows: Tensor | None, o: Tensor, plan: str, wanted: int
) -> tuple[Tensor, ...]:
    own = compiled(plan)
    inputs = (x.contiguous(), y.contiguous(), _weights(w, own), o.contiguous(), None, None, None)
    gradients = _empty((x, y, w), wanted, (GX, GY, GW))
    _convolve(own, edge_index, inputs, (None, *gradients), rows)
    return gradients[0], gradients[1], _own_weights(gradients[2], own)


def _twice(
    x: Tensor,
    edge_index: Tensor,
    y: Tensor,
    w: Tensor,
    rows: Tensor | None,
    o: Tensor,
    ax: Tensor,
    ay: Tensor,
    aw: Tensor,
    plan: str,
    wanted: int,
) -> tuple[Tensor, ...]:
    own = compiled(plan)
    w, aw = _weights(w, own), _weights(aw, own)
    inputs = (x.contiguous(), y.contiguous(), w, o.contiguous(), ax.contiguous(), ay.contiguous(), aw)
    go, *gradients = _empty((o, x, y, w), wanted, (GO, GX, GY, GW))
    _convolve(own, edge_index, inputs, (go, *gradients), rows, twice=True)
    return go, gradients[0], gradients[1], _own_weights(gradients[2], own)


def _empty(like: Sequence[Tensor], wanted: int, bits: Sequence[int]) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape if wanted & bit else 0) for t, bit in zip(like, bits, strict=True))


def _forward_fake(
    x: Tensor, edge_index: Tensor, y: Tensor, w: Tensor, rows: Tensor | None, plan: str, num_nodes: int
) -> Tensor:
    return x.new_empty(num_nodes, compiled(plan).dims[3])


def _backward_fake(
    x: Tensor, edge_index: Tensor, y: Tensor, w: Tensor, rows: Tensor | None, o: Tensor, plan: str, wanted: int
) -> tuple[Tensor, ...]:
    return _empty((x, y, w), wanted, (GX, GY, GW))


def _twice_fake(
    x: Tensor,
    edge_index: Tensor,
    y: Tensor,
    w: Tensor,
    rows: Tensor | None,
    o: Tensor,
    ax: Tensor,
    ay: Tensor,
    aw: Tensor,
    plan: str,
    wanted: int,
) -> tuple[Tensor, ...]:
    return _empty((o, x, y, w), wanted, (GO, GX, GY, GW))


def _forward_derivative(needs: Sequence[bool], inputs: Values, cotangents: Values) -> Values:
    x, edge_index, y, w, rows, plan, _ = inputs
    wanted = GX * needs[0] | GY * needs[2] | GW * needs[3]
    gx, gy, gw = convolution_backward(x, edge_index, y, w, rows, cotangents[0], plan, wanted)
    return _kept(gx, needs[0]), None, _kept(gy, needs[2]), _kept(gw, needs[3]), None, None, None


def _backward_derivative(needs: Sequence[bool], inputs: Values, cotangents: Values) -> Values:
    x, edge_index, y, w, rows, o, plan, asked = inputs
    ax, ay, aw = (
        x.new_empty(0) if a is None or not asked & bit else a for a, bit in zip(cotangents, (GX, GY, GW), strict=True)
    )
    wanted = GX * needs[0] | GY * needs[2] | GW * needs[3] | GO * needs[5]
    go, gx, gy, gw = convolution_twice(x, edge_index, y, w, rows, o, ax, ay, aw, plan, wanted)
    gradients = [_kept(g, n) for g, n in ((gx, needs[0]), (gy, needs[2]), (gw, needs[3]), (go, needs[5]))]
    return gradients[0], None, *gradients[1:3], None, gradients[3], None, None


def _kept(gradient: Tensor, wanted: bool) -> Tensor | None:
    return gradient if wanted else None


# T(ax, y, w, o), T(x, ay, w, o) and T(x, y, aw, o), each with one argument replaced by the cotangent b of the
# derivative by it.
_FORMS = (
    *(("ax", "y", "w", "bo"), ("ax", "by", "w", "o"), ("ax", "y", "bw", "o")),
    *(("x", "ay", "w", "bo"), ("bx", "ay", "w", "o"), ("x", "ay", "bw", "o")),
    *(("x", "y", "aw", "bo"), ("bx", "y", "aw", "o"), ("x", "by", "aw", "o")),
)


def _twice_derivative(needs: Sequence[bool], inputs: Values, cotangents: Values) -> Values:
    x, edge_index, y, w, rows, o, ax, ay, aw, plan, asked = inputs
    named = {"x": x, "y": y, "w": w, "o": o, "ax": ax, "ay": ay, "aw": aw}
    for name, b, bit in zip(("bo", "bx", "by", "bw"), cotangents, (GO, GX, GY, GW), strict=True):
        named[name] = x.new_empty(0) if b is None or not asked & bit else b
    totals: dict[str, Tensor] = {}
    for form in _FORMS:
        fx, fy, fw, fo = (named[name] for name in form)
        if any(named[name].numel() == 0 for name in form if name[0] in "ab"):
            continue
        # To a path without weights, w is 1 and its cotangents are 0.
        own = plan if form[2] == "w" else weighted(plan)
        gradients = (
            *convolution_backward(fx, edge_index, fy, fw, rows, fo, own, GX | GY | GW),
            convolution(fx, edge_index, fy, fw, rows, own, o.shape[0]),
        )
        for name, gradient in zip(form, gradients, strict=True):
            totals[name] = totals[name] + gradient if name in totals else gradient
    gx, gy, gw, go, gax, gay, gaw = (totals.get(name) for name in ("x", "y", "w", "o", "ax", "ay", "aw"))
    return gx, None, gy, gw, None, go, gax, gay, gaw, None, None


_FORM = "Tensor x, Tensor edge_index, Tensor y, Tensor w, Tensor? rows"
_FOUR = "(Tensor, Tensor, Tensor, Tensor)"

convolution = Operator(
    "convolution", f"({_FORM}, str plan, SymInt num_nodes) -> Tensor", _forward, _forward_fake, _forward_derivative
)
convolution_backward = Operator(
    "convolution_backward",
    f"({_FORM}, Tensor o, str plan, int wanted) -> (Tensor, Tensor, Tensor)",
    _backward,
    _backward_fake,
    _backward_derivative,
)
convolution_twice = Operator(
    "convolution_twice",
    f"({_FORM}, Tensor o, Tensor ax, Tensor ay, Tensor aw, str plan, int wanted) -> {_FOUR}",
    _twice,
    _twice_fake,
    _twice_derivative,
)

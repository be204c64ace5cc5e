"""The symmetric product, its gradients, and the gradients of those.

With ``F(x, w, o) = Σ_n Σ_k o[n,k] P_k(x[n]; w[index[n]])`` the three operators are ∂F/∂o, (∂F/∂x, ∂F/∂w), and the
derivatives by x, w and o of ``ax · ∂F/∂x + aw · ∂F/∂w``, which is the derivative by ε of F at x + ε ax, w + ε aw.
Higher derivatives are those of the product in plain torch.

A tensor that is zero or not needed is empty: ``wanted`` has a bit for each of gx, gw and go.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import byref
from functools import lru_cache

import torch
from torch import Tensor

from e3frame.algebra.irreps import Irreps
from e3frame.algebra.symmetric_product import SymmetricProductPlan, plan_symmetric_product
from e3frame.kernels.backends import kept_with_plans
from e3frame.kernels.native import aligned, groups, library, polynomials
from e3frame.kernels.native.operators import Operator, Values, require_memory
from e3frame.kernels.native.polynomials import Compiled
from e3frame.kernels.reference.symmetric_product import symmetric_product as reference

GX, GW, GO = 1, 2, 4


@kept_with_plans
def text_of(plan: SymmetricProductPlan) -> str:
    """Write a plan as text: what it is computed from."""
    return f"{plan.irreps_in}|{plan.irreps_out}|{plan.correlation}|{plan.rows}|{plan.basis}"


@lru_cache(maxsize=256)
def _read(text: str) -> SymmetricProductPlan:
    irreps_in, irreps_out, correlation, rows, basis = text.split("|")
    try:
        return plan_symmetric_product(irreps_in, irreps_out, int(correlation), int(rows), basis)  # type: ignore[arg-type]
    except ValueError:
        library.require(False, "a symmetric product", text)
        raise


@lru_cache(maxsize=256)
def compiled(text: str) -> Compiled:
    """Compile a plan written by `text_of`, or by that of `aligned`."""
    if text.startswith(aligned.MARK):
        return aligned.compile_text(text)
    plan = _read(text)
    polynomial = polynomials.read(plan)
    groups_of = {
        (head, k): {leaf: polynomial[k, monomial] for monomial, leaf in items}
        for (head, k), items in polynomials.factorize(polynomial).items()
    }
    out = Irreps([(plan.mul, ir) for ir in plan.copies])
    return polynomials.pack(plan.irreps_in, out, plan.weight_shape[:2], groups_of)


def _reference(x: Tensor, w: Tensor, index: Tensor | None, text: str) -> Tensor:
    """Return what the kernel computes, in plain torch."""
    if text.startswith(aligned.MARK):
        return aligned.reference(x, w, text)
    return reference(x, w, index, _read(text))


def _rows(x: Tensor, index: Tensor | None, num_indices: int) -> library.Rows:
    if index is None:
        return library.Rows(x.shape[0], None, None)
    return groups.rows(index, num_indices)


def _run(
    own: Compiled, index: Tensor | None, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor | None], twice: bool
) -> None:
    """Run the library on x, w, o, ax, aw -> out (or go), gx, gw; None and empty tensors are left out."""
    _check(own, index, inputs)
    x = inputs[0]
    assert x is not None
    tensors = library.SymmetricTensors(own.weight_shape[0], *map(_pointer, (*inputs, *outputs)))
    rows = _rows(x, index, own.weight_shape[0])
    run = library.kernels(x.dtype).symmetric_product
    library.check(run(byref(own.struct), byref(rows), byref(tensors), twice, library.threads()))


def _pointer(tensor: Tensor | None) -> int | None:
    return tensor.data_ptr() if tensor is not None and tensor.numel() else None


def _check(own: Compiled, index: Tensor | None, inputs: Sequence[Tensor | None]) -> None:
    """Raise a ValueError if shapes or types do not fit: the library trusts what it is given."""
    x = inputs[0]
    assert x is not None
    n = x.shape[0] if x.ndim else 0
    shapes = ((n, own.dim_in), own.weight_shape, (n, own.dim_out), (n, own.dim_in), own.weight_shape)
    for name, tensor, shape in zip(("x", "w", "o", "ax", "aw"), inputs, shapes, strict=True):
        if tensor is None or (name in ("ax", "aw") and tensor.numel() == 0):
            continue
        if tensor.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
        if tensor.dtype != x.dtype:
            raise ValueError(f"{name} must be of the type of x, {x.dtype}, got {tensor.dtype}")
    if index is None and own.weight_shape[0] != 1:
        raise ValueError(f"w has {own.weight_shape[0]} rows, so that index is required")
    if index is not None and index.shape != (n,):
        raise ValueError(f"index must have shape ({n},), got {tuple(index.shape)}")


def _forward(x: Tensor, w: Tensor, index: Tensor | None, text: str) -> Tensor:
    own = compiled(text)
    out = x.new_empty(x.shape[0], own.dim_out)
    _run(own, index, (x.contiguous(), w.contiguous(), None, None, None), (out, None, None), False)
    return out


def _backward(x: Tensor, w: Tensor, index: Tensor | None, o: Tensor, text: str, wanted: int) -> tuple[Tensor, Tensor]:
    gx, gw = _empty((x, w), wanted, (GX, GW))
    inputs = (x.contiguous(), w.contiguous(), o.contiguous(), None, None)
    _run(compiled(text), index, inputs, (None, gx, gw), False)
    return gx, gw


def _twice(
    x: Tensor, w: Tensor, index: Tensor | None, o: Tensor, ax: Tensor, aw: Tensor, text: str, wanted: int
) -> tuple[Tensor, Tensor, Tensor]:
    gx, gw, go = _empty((x, w, o), wanted, (GX, GW, GO))
    inputs = tuple(t.contiguous() for t in (x, w, o, ax, aw))
    _run(compiled(text), index, inputs, (go, gx, gw), True)
    return gx, gw, go


def _empty(like: Sequence[Tensor], wanted: int, bits: Sequence[int]) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape if wanted & bit else 0) for t, bit in zip(like, bits, strict=True))


def _forward_derivative(needs: Sequence[bool], inputs: Values, cotangents: Values) -> Values:
    x, w, index, text = inputs
    gx, gw = symmetric_product_backward(x, w, index, cotangents[0], text, GX * needs[0] | GW * needs[1])
    return _kept(gx, needs[0]), _kept(gw, needs[1]), None, None


def _backward_derivative(needs: Sequence[bool], inputs: Values, cotangents: Values) -> Values:
    x, w, index, o, text, asked = inputs
    ax, aw = (
        x.new_empty(0) if a is None or not asked & bit else a for a, bit in zip(cotangents, (GX, GW), strict=True)
    )
    wanted = GX * needs[0] | GW * needs[1] | GO * needs[3]
    gx, gw, go = symmetric_product_twice(x, w, index, o, ax, aw, text, wanted)
    return _kept(gx, needs[0]), _kept(gw, needs[1]), None, _kept(go, needs[3]), None, None


def _kept(gradient: Tensor, wanted: bool) -> Tensor | None:
    return gradient if wanted else None


def _twice_derivative(needs: Sequence[bool], inputs: Values, cotangents: Values) -> Values:
    x, w, index, o, ax, aw, text, asked = inputs
    require_memory("symmetric_product_twice", (x, w, index, o, ax, aw, *cotangents))
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views: one of these may have been computed from another, which must not count here.
        given = [t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in (x, w, o, ax, aw)]
        outputs = _twice_of_reference(given, index, text)
        bits = zip(outputs, cotangents, (GX, GW, GO), strict=True)
        total = sum(((out * b).sum() for out, b, bit in bits if b is not None and asked & bit), start=0 * x.sum())
        if not total.requires_grad:
            return (None,) * 8
        gradients = torch.autograd.grad(total, given, create_graph=create_graph, materialize_grads=True)
    gx, gw, go, gax, gaw = gradients
    return gx, gw, None, go, gax, gaw, None, None


def _twice_of_reference(given: Sequence[Tensor], index: Tensor | None, text: str) -> tuple[Tensor, ...]:
    """``symmetric_product_twice`` of x, w, o, ax, aw in plain torch, with all results."""
    x, w, o, *cotangents = given
    first = torch.autograd.grad(_reference(x, w, index, text), (x, w), o, create_graph=True, materialize_grads=True)
    total = sum(((a * g).sum() for a, g in zip(cotangents, first, strict=True) if a.numel()), start=0 * o.sum())
    return torch.autograd.grad(total, (x, w, o), create_graph=True, materialize_grads=True)


def _forward_fake(x: Tensor, w: Tensor, index: Tensor | None, text: str) -> Tensor:
    return x.new_empty(x.shape[0], compiled(text).dim_out)


def _backward_fake(x: Tensor, w: Tensor, index: Tensor | None, o: Tensor, text: str, wanted: int) -> tuple[Tensor, ...]:
    return _empty((x, w), wanted, (GX, GW))


def _twice_fake(
    x: Tensor, w: Tensor, index: Tensor | None, o: Tensor, ax: Tensor, aw: Tensor, text: str, wanted: int
) -> tuple[Tensor, ...]:
    return _empty((x, w, o), wanted, (GX, GW, GO))


_FORM = "Tensor x, Tensor w, Tensor? index"

symmetric_product = Operator(
    "symmetric_product", f"({_FORM}, str text) -> Tensor", _forward, _forward_fake, _forward_derivative
)
"""``symmetric_product(x, w, index, text)``: (n, irreps_in.dim), (rows, couplings, mul), (n,) -> (n, irreps_out.dim)."""
symmetric_product_backward = Operator(
    "symmetric_product_backward",
    f"({_FORM}, Tensor o, str text, int wanted) -> (Tensor, Tensor)",
    _backward,
    _backward_fake,
    _backward_derivative,
)
symmetric_product_twice = Operator(
    "symmetric_product_twice",
    f"({_FORM}, Tensor o, Tensor ax, Tensor aw, str text, int wanted) -> (Tensor, Tensor, Tensor)",
    _twice,
    _twice_fake,
    _twice_derivative,
)

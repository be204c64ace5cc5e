"""Native backend in C++ for CPUs, in float32 and float64: its operators, and the plans and tensors it accepts.

The convolution is one form, linear in each of x, y, w and the cotangent o:
``T(x, y, w, o) = Σ_e Σ_path Σ_uijk C_ijk x[src,u,i] y[e,j] w[e,path,u] o[dst,u,k]``. Forward is ∂T/∂o, the gradients
are ∂T/∂x, ∂T/∂y and ∂T/∂w, and every higher derivative is made of these again. No features of edges are ever stored.

Kernels take as many threads as torch does, ``torch.get_num_threads()``. In a forked process, such as a worker of a
DataLoader or a pool, they take one, and torch is set to one as well, since threads do not survive a fork; the
results are the same, bit for bit. A pool whose processes are to take more must ``spawn`` them.
"""

from __future__ import annotations

from collections.abc import Callable
from types import NotImplementedType
from typing import Any

import torch
from torch import Tensor

from e3frame.algebra.functions import ActivatedGatePlan, ActivationPlan, HarmonicsPlan, RadialPlan
from e3frame.algebra.interaction import SelfConnectionPlan
from e3frame.algebra.linear import LinearPlan
from e3frame.algebra.plan import ProductPlan
from e3frame.algebra.symmetric_product import SymmetricProductPlan
from e3frame.kernels.backends import Backend, register
from e3frame.kernels.native import (
    aligned,
    convolution,
    differences,
    groups,
    harmonics,
    library,
    linear,
    plans,
    pointwise,
    products,
    radial,
    symmetric_product,
)
from e3frame.kernels.native.operators import plain
from e3frame.kernels.values import has_tangents

Result = Tensor | NotImplementedType


def _takes(x: Tensor) -> bool:
    """Whether kernels run on tensors like x: on the CPU, in float32 or float64.

    Not under autocast, ``torch.func`` transforms and forward-mode differentiation, which custom operators do not
    support, and not under ``torch.jit.trace``, which would record the number of rows as a constant.
    """
    if not x.is_cpu or x.dtype not in (torch.float32, torch.float64):
        return False
    if torch.is_autocast_enabled("cpu") or has_tangents():
        return False
    if torch.compiler.is_compiling():
        return True
    return torch._C._functorch.peek_interpreter_stack() is None and torch._C._get_tracing_state() is None


def _run_convolution(
    x: Tensor, edge_index: Tensor, y: Tensor, w: Tensor, num_nodes: int, rows: Tensor | None, plan: ProductPlan
) -> Result:
    if not _takes(x):
        return NotImplemented
    return convolution.convolution(x, edge_index, y, w, rows, plans.text_of(plan), num_nodes)


def _run_product(x: Tensor, y: Tensor, w: Tensor, plan: ProductPlan) -> Result:
    """Run a product of rows as a convolution on a graph in which row n is an edge from node n to node n, followed by a
    linear map if the weights mix copies; and products copy by copy as polynomials."""
    texts = products.texts_of(plan)
    if texts is None:
        if w.ndim > 1 or not x.dtype == y.dtype == w.dtype or not _takes(x):
            return NotImplemented
        both, own = torch.cat([x, y], dim=-1), aligned.weights(w, plan)
        return symmetric_product.symmetric_product(both, own, None, aligned.text_of(plan))
    text, line = texts
    if (line and w.ndim > 1) or not x.dtype == y.dtype == w.dtype or not _takes(x):
        return NotImplemented
    rows = x.shape[0]
    edge_index = torch.arange(rows, device=x.device).expand(2, rows)
    out = convolution.convolution(x, edge_index, y, x.new_empty(0) if line else w, None, text, rows)
    return linear.linear(out, w, None, line, False) if line else out


def _run_linear(x: Tensor, w: Tensor | None, b: Tensor | None, plan: LinearPlan) -> Result:
    if w is None or w.ndim != 1 or (b is not None and b.ndim != 1) or not _takes(x):
        return NotImplemented
    rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
    out = linear.linear(rows, w, None, linear.text_of(plan), False)
    if b is not None:
        out = out + linear.spread_biases(b, plan)
    return out if x.ndim == 2 else out.view(*x.shape[:-1], out.shape[-1])


def _run_indexed_linear(x: Tensor, w: Tensor, index: Tensor, plan: ProductPlan) -> Result:
    return linear.linear(x, w, index, linear.indexed_text_of(plan), False) if _takes(x) else NotImplemented


def _run_self_connection(
    x: Tensor, attributes: Tensor, w: Tensor, species: Tensor | None, plan: SelfConnectionPlan
) -> Result:
    """Compute the matrices of each species once, from the attributes of its first node.

    Not for compilers, exporters and transforms, which would treat the first nodes as constants.
    """
    if species is None or torch.compiler.is_compiling() or not x.shape[0] or not _takes(x):
        return NotImplemented
    if species.is_cpu and not plain((species,)):
        return NotImplemented
    assert plan.num_species is not None
    first = groups.first(species, plan.num_species)
    of_species, of_nodes = linear.self_connection_texts_of(plan)
    matrices = linear.linear(attributes.index_select(0, first), w, None, of_species, False)
    return linear.linear(x, matrices, species, of_nodes, False)


def _run_harmonics(x: Tensor, plan: HarmonicsPlan) -> Result:
    return harmonics.harmonics(x, harmonics.text_of(plan)) if _takes(x) else NotImplemented


def _run_radial(vectors: Tensor, plan: RadialPlan) -> Result:
    return radial.radial(vectors, radial.text_of(plan)) if _takes(vectors) else NotImplemented


def _run_activation(x: Tensor, plan: ActivationPlan) -> Result:
    return pointwise.activate(x, pointwise.text_of(plan)) if _takes(x) else NotImplemented


def _run_gate(x: Tensor, plan: ActivatedGatePlan) -> Result:
    return pointwise.gate(x, pointwise.gate_text_of(plan)) if _takes(x) else NotImplemented


def _run_edge_vectors(pos: Tensor, edge_index: Tensor, edge_shift: Tensor | None, plan: None) -> Result:
    same = pos.shape[1:] == (3,) and (edge_shift is None or edge_shift.dtype == pos.dtype)
    if not same or edge_index.dtype != torch.int64 or not _takes(pos):
        return NotImplemented
    return differences.differences(pos, edge_index, edge_shift)


def _run_symmetric_product(x: Tensor, w: Tensor, index: Tensor | None, plan: SymmetricProductPlan) -> Result:
    if not _takes(x):
        return NotImplemented
    return symmetric_product.symmetric_product(x, w, index, symmetric_product.text_of(plan))


def _find_pairs(
    edge_index: Tensor, edge_shift: Tensor, num_nodes: int, plan: None
) -> tuple[Tensor, Tensor] | NotImplementedType:
    if torch.compiler.is_compiling() or not plain((edge_index, edge_shift)) or not _takes(edge_shift):
        return NotImplemented
    if edge_index.dtype != torch.int64 or edge_shift.requires_grad:
        return NotImplemented
    if edge_shift.shape != (edge_index.shape[-1], 3):
        return NotImplemented
    return groups.pairs(edge_index, edge_shift, num_nodes)


_RUNS: dict[str, Callable[[Any], bool]] = {
    "convolution": plans.runs,
    "product": lambda plan: products.texts_of(plan) is not None or aligned.runs(plan),
    "linear": lambda plan: plan.f_in is None,
    "self_connection": lambda plan: plan.num_species is not None,
    "spherical_harmonics": lambda plan: bool(plan[0]),
    "activation": pointwise.runs,
    "gate": lambda plan: all(pointwise.runs(act) for _, act in (*plan.scalars, *plan.gates)),
}
"""Tests of a plan, for each operator that does not run all plans."""

BACKEND = register(
    Backend(
        "native",
        {
            "convolution": _run_convolution,
            "product": _run_product,
            "linear": _run_linear,
            "indexed_linear": _run_indexed_linear,
            "self_connection": _run_self_connection,
            "spherical_harmonics": _run_harmonics,
            "radial_basis": _run_radial,
            "activation": _run_activation,
            "gate": _run_gate,
            "edge_vectors": _run_edge_vectors,
            "pairs": _find_pairs,
            "symmetric_product": _run_symmetric_product,
        },
        runs=lambda operator, plan: operator not in _RUNS or _RUNS[operator](plan),
        available=lambda: library.load() is not None,
        status=lambda: library.status(),
        priority=20,
    )
)

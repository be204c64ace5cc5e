"""How planned products are executed. Callers use the functions here and need not know which backend runs them.

``reference`` is plain torch: it runs everywhere and defines the result. ``native`` is C++ for the CPU, in float32 and
float64; ``cuequivariance`` is NVIDIA's library for CUDA. The environment variable ``E3FRAME_BACKEND=reference`` turns
both off.

Native kernels take as many threads as torch does, ``torch.get_num_threads()``. In a process that was forked, such as a
worker of a DataLoader or a pool, they take one, and torch is told to do so as well, since threads do not survive a
fork; the results are the same, bit for bit. A pool whose processes are to take more must ``spawn`` them.
"""

from __future__ import annotations

from functools import cache
from math import prod

import torch
from torch import Tensor

from e3frame.algebra.environment import check_environment, wanted_backend
from e3frame.algebra.errors import AssertedError
from e3frame.algebra.plan import ProductPlan
from e3frame.kernels import cuequivariance, reference
from e3frame.kernels.constants import as_floating, known_to_compilers
from e3frame.kernels.native import groups
from e3frame.kernels.native import library as native_library
from e3frame.kernels.native import plans as native_plans
from e3frame.kernels.native.convolution import convolution as native_convolution
from e3frame.kernels.native.differences import differences as native_differences
from e3frame.kernels.native.linear import linear as native_linear
from e3frame.kernels.native.operators import plain
from e3frame.kernels.native.products import write_product

__all__ = [
    "backend",
    "convolution",
    "edge_vectors",
    "first_rows",
    "has_tangents",
    "linear",
    "pairs",
    "product",
    "runs_natively",
]

check_environment()


@cache
def _available() -> bool:
    """Whether there are native kernels, and they are wanted."""
    return wanted_backend() == "auto" and native_library.load() is not None


def _runs_on_cuda(x: Tensor, plan: ProductPlan) -> bool:
    """Whether x is on a CUDA GPU, and cuequivariance is there, is wanted, and has the plan."""
    if x.device.type != "cuda" or torch.compiler.is_compiling() or has_tangents():
        return False
    return wanted_backend() == "auto" and cuequivariance.installed() and cuequivariance.runs(plan)


# A compiler takes what these return for constants.
_native_available = known_to_compilers(lambda: _available())
_native_plan = known_to_compilers(lambda plan: native_plans.text_of(plan))
_native_texts = known_to_compilers(lambda plan: write_product(plan))


def backend() -> str:
    """Which kernels run on the CPU, and why, in one line.

    Raises:
        ValueError: an environment variable with a value that is not one of those it may have.
    """
    if _available():
        return f"native, {native_library.status()}"
    return f"reference, {'as E3FRAME_BACKEND says' if wanted_backend() == 'reference' else native_library.status()}"


def runs_natively(x: Tensor) -> bool:
    """Whether native kernels run on tensors like x: on the CPU, in float32 or float64, outside of autocast, of
    ``torch.func`` transforms and of forward-mode differentiation, which operators of our own do not follow, and of
    ``torch.jit.trace``, which would keep the number of rows."""
    if not _native_available() or x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return False
    if torch.is_autocast_enabled("cpu") or has_tangents():
        return False
    if torch.compiler.is_compiling():
        return True
    return torch._C._functorch.peek_interpreter_stack() is None and torch._C._get_tracing_state() is None


def has_tangents() -> bool:
    """Whether tensors may have tangents: within forward-mode differentiation."""
    return torch.autograd.forward_ad._current_level >= 0


def edge_vectors(pos: Tensor, edge_index: Tensor, edge_shift: Tensor | None) -> Tensor:
    """pos[source] - pos[target] + edge_shift: ``(n, 3)``, ``(2, e)`` of integers and ``(e, 3)`` -> ``(e, 3)``.

    Raises:
        ValueError: shapes that do not fit.
        IndexError: an edge with a node that is not there.
    """
    if edge_shift is not None and edge_shift.shape != (edge_index.shape[1], 3):
        raise ValueError(f"edge_shift must have shape ({edge_index.shape[1]}, 3), got {tuple(edge_shift.shape)}")
    pos = as_floating(pos)
    same = pos.shape[1:] == (3,) and (edge_shift is None or edge_shift.dtype == pos.dtype)
    if same and edge_index.dtype == torch.int64 and runs_natively(pos):
        return native_differences(pos, edge_index, edge_shift)
    return reference.edge_vectors(pos, edge_index, edge_shift)


def linear(x: Tensor, w: Tensor, index: Tensor | None, text: str) -> Tensor:
    """Native linear maps, one for each value of ``index`` ``(n,)`` or one in all: x ``(n, dim)`` -> ``(n, dim_out)``.

    Args:
        text: of `e3frame.kernels.native.linear.write_linear`.
    """
    return native_linear(x, w, index, text, False)


def first_rows(index: Tensor, num_indices: int) -> Tensor | None:
    """The first row of each value of ``index`` ``(n,)``, n > 0; any row where none has it. None where it would be seen
    as a constant, or cannot be known: for compilers, exporters and transforms."""
    if torch.compiler.is_compiling() or (index.is_cpu and not plain((index,))):
        return None
    return groups.first(index, num_indices)


def product(x: Tensor, y: Tensor, w: Tensor | None, plan: ProductPlan) -> Tensor:
    """Planned product of x ``(..., irreps_in1.dim)`` and y ``(..., irreps_in2.dim)`` -> ``(..., irreps_out.dim)``.

    Args:
        w: ``(weight_numel,)`` shared by all rows, or ``(..., weight_numel)`` for each row; None if there are none.

    Raises:
        ValueError: a last dimension that is not the plan's, or missing weights.
    """
    _check_last("x", x, plan.dims[0])
    _check_last("y", y, plan.dims[1])
    if w is not None:
        _check_last("w", w, plan.weight_numel)
    elif plan.weight_numel > 0:
        raise ValueError(f"the product has {plan.weight_numel} weights, got none")
    if x.ndim == 2 and x.shape[0] == y.shape[0] and y.ndim == 2 and _runs_on_cuda(x, plan):
        return cuequivariance.product(x, y, w, plan)
    w = x.new_empty(0) if w is None else w  # a product may have weights, of no copies
    same = x.dtype == y.dtype == w.dtype
    if same and runs_natively(x) and (texts := _native_texts(plan)) and not (texts[1] and w.ndim > 1):
        return _native_product(x, y, w, plan, *texts)
    return reference.product(x, y, w, plan)


def _native_product(x: Tensor, y: Tensor, w: Tensor, plan: ProductPlan, text: str, line: str) -> Tensor:
    """A product of rows is a convolution on a graph in which each row is an edge, between two nodes of its own; and a
    linear map ``line`` of that where the weights mix copies."""
    shared = w.ndim == 1
    lead = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1], () if shared else w.shape[:-1])
    rows = prod(lead)
    x, y = (t.expand(*lead, -1).reshape(rows, t.shape[-1]) for t in (x, y))
    own = x.new_empty(0) if line else w if shared else w.expand(*lead, -1).reshape(rows, plan.weight_numel)
    edge_index = torch.arange(rows, device=x.device).expand(2, rows)
    out = native_convolution(x, edge_index, y, own, None, text, rows)
    return (native_linear(out, w, None, line, False) if line else out).view(*lead, plan.irreps_out.dim)


def pairs(edge_index: Tensor, edge_shift: Tensor, num_nodes: int) -> tuple[Tensor, Tensor] | None:
    """Edges and their reverses as pairs ``(rows, edges)``; None where kernels would not make use of them.

    What is the same for an edge and its reverse, such as functions of the length, need be computed for ``edges`` (p,)
    alone; ``rows`` (e,) is where each edge then finds its own. An edge without a reverse is a pair of its own.

    Args:
        edge_index: (2, e), rows source and target.
        edge_shift: (e, 3), the lattice translation of the source; that of the reverse is exactly its negative.
    """
    if torch.compiler.is_compiling() or not plain((edge_index, edge_shift)) or not runs_natively(edge_shift):
        return None
    if edge_index.dtype != torch.int64:
        return None
    if edge_shift.shape != (edge_index.shape[-1], 3) or edge_shift.requires_grad:
        return None
    return groups.pairs(edge_index, edge_shift, num_nodes)


def convolution(
    x: Tensor,
    edge_index: Tensor,
    y: Tensor,
    w: Tensor,
    plan: ProductPlan,
    num_nodes: int,
    rows: Tensor | None = None,
) -> Tensor:
    """Message passing with a channel-wise product: ``out_i = Σ_{e: j -> i} Σ_paths w_e ⊙ (x_j ⊗ y_e)``.

    Args:
        x: ``(nodes, irreps_in1.dim)``, features of the source nodes.
        edge_index: ``(2, e)``; row 0 is the source j, row 1 the target i; in any order.
        y: ``(e, irreps_in2.dim)``, features of the edges, usually their spherical harmonics.
        w: ``(e, weight_numel)``, weights for each edge, path and copy; or ``(weight_numel,)``, the same for all edges.
        rows: ``(e,)``, where edges share weights: the row of w that each of them has, of any number; see `pairs`.
        plan: of channel-wise (uvu) paths, such as `e3frame.algebra.paths.plan_convolution` makes.
        num_nodes: number of target nodes.

    Returns:
        ``(num_nodes, irreps_out.dim)``. Targets without edges are zero.

    Raises:
        ValueError: a plan with another connection than uvu, shapes that do not fit, or tensors of different types.
        IndexError: an edge with a node that is not there.
    """
    text = _native_plan(plan)
    for ins in plan.instructions if not text else ():
        if ins.connection_mode != "uvu":
            raise ValueError(f"a convolution needs channel-wise (uvu) paths, got {ins.connection_mode!r}")
    _check_last("x", x, plan.dims[0])
    _check_last("y", y, plan.dims[1])
    _check_last("w", w, plan.weight_numel)
    given = y.shape[0] if rows is None else w.shape[0]
    if edge_index.shape != (2, y.shape[0]) or (w.ndim == 2 and w.shape[0] != given) or w.ndim > 2:
        raise ValueError(
            "edge_index, y and w need one entry for each edge, "
            f"got shapes {tuple(edge_index.shape)}, {tuple(y.shape)}, {tuple(w.shape)}"
        )
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), w.dtype)
        x, y, w = x.to(dtype), y.to(dtype), w.to(dtype)
    if not x.dtype == y.dtype == w.dtype:
        raise ValueError(f"x, y and w must be of one type, got {x.dtype}, {y.dtype} and {w.dtype}")
    if edge_index.dtype != torch.int64:
        raise ValueError(f"edge_index must be int64, got {edge_index.dtype}")
    if rows is not None and rows.shape != y.shape[:1]:
        raise ValueError(f"rows must have shape ({y.shape[0]},), got {tuple(rows.shape)}")
    if text and runs_natively(x):
        return native_convolution(x, edge_index, y, w, rows, text, num_nodes)
    if rows is not None and w.ndim == 2:
        w = w.index_select(0, rows)
    if _runs_on_cuda(x, plan):
        return cuequivariance.convolution(x, edge_index, y, w, plan, num_nodes)
    return reference.convolution(x, edge_index, y, w, plan, num_nodes)


def _check_last(name: str, tensor: Tensor, expected: int) -> None:
    if tensor.shape[-1] != expected:
        raise AssertedError(f"{name} must have a last dimension of {expected}, got shape {tuple(tensor.shape)}")

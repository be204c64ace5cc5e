"""Operators on tensors, each with a plan that says what it computes: ``kernels.<operator>(tensors, plan)``.

A backend runs an operator; which one is found here, and nothing above knows of it. ``reference`` is plain torch: it
runs everything everywhere, and defines the results. ``native`` is C++ for the CPU, in float32 and float64;
``cuequivariance`` is NVIDIA's library for CUDA. The first backend that has the plan and takes the tensors runs them.
The environment variable ``E3FRAME_BACKEND`` chooses one by its name; what it does not run, the reference does.
``e3frame info`` says what is in use. Another backend is one file that calls `register`: in this folder, or in a plugin,
whose backends are asked first. The backend of a plugin can be chosen once the plugin is imported: a name that is still
unknown when the first operator runs is an error.
"""

from __future__ import annotations

from importlib import import_module
from math import prod
from pkgutil import iter_modules

import torch
from torch import Tensor

from e3frame.algebra.environment import BACKENDS as OURS
from e3frame.algebra.environment import check_environment, wanted_backend
from e3frame.algebra.errors import AssertedError
from e3frame.algebra.functions import ActivatedGatePlan, ActivationPlan, HarmonicsPlan, RadialPlan
from e3frame.algebra.interaction import SelfConnectionPlan
from e3frame.algebra.linear import LinearPlan
from e3frame.algebra.plan import ProductPlan
from e3frame.algebra.symmetric_product import SymmetricProductPlan
from e3frame.kernels import cuequivariance, native, reference
from e3frame.kernels.backends import BACKENDS, Backend, check_choice, chosen, kept_with_plans, register, run, use
from e3frame.kernels.constants import as_floating

__all__ = [
    "Backend",
    "activation",
    "backend",
    "check_choice",
    "convolution",
    "edge_vectors",
    "gate",
    "indexed_linear",
    "linear",
    "pairs",
    "product",
    "radial_basis",
    "register",
    "self_connection",
    "spherical_harmonics",
    "statuses",
    "symmetric_product",
    "use",
]

check_environment(plugins=True)
for _module in iter_modules(__path__):  # a backend registers itself when its file is imported
    import_module(f"{__name__}.{_module.name}")
if wanted_backend() in OURS:
    check_choice()


def backend() -> str:
    """The backend that is asked first on the CPU, and why, in one line.

    Raises:
        EnvironmentVariableError: ``E3FRAME_BACKEND`` names a backend that does not exist, or is not available.
    """
    check_choice()
    if chosen() != "auto":
        rest = "" if chosen() == reference.BACKEND.name else "; reference for what it does not run"
        return f"{chosen()}, as E3FRAME_BACKEND says{rest}"
    first = next(known for known in BACKENDS.values() if known.available() and known is not cuequivariance.BACKEND)
    return f"{first.name}, {first.status() if first is not reference.BACKEND else native.BACKEND.status()}"


def statuses() -> dict[str, str]:
    """One line about each backend, in the order in which they are asked."""
    return {name: known.status() for name, known in BACKENDS.items()}


def edge_vectors(pos: Tensor, edge_index: Tensor, edge_shift: Tensor | None) -> Tensor:
    """pos[source] - pos[target] + edge_shift: ``(n, 3)``, ``(2, e)`` of integers and ``(e, 3)`` -> ``(e, 3)``.

    Raises:
        ValueError: shapes that do not fit.
        IndexError: an edge names a node that does not exist.
    """
    if edge_shift is not None and edge_shift.shape != (edge_index.shape[1], 3):
        raise ValueError(f"edge_shift must have shape ({edge_index.shape[1]}, 3), got {tuple(edge_shift.shape)}")
    return run("edge_vectors", None, as_floating(pos), edge_index, edge_shift)


def pairs(edge_index: Tensor, edge_shift: Tensor, num_nodes: int) -> tuple[Tensor, Tensor] | None:
    """Edges and their reverses as pairs ``(rows, edges)``; None where that would not save time.

    Functions that are the same for an edge and its reverse, such as functions of the length, need only be computed for
    ``edges`` (p,); ``rows`` (e,) is the row of each edge in the result. An edge without a reverse is a pair of its own.

    Args:
        edge_index: (2, e), rows source and target.
        edge_shift: (e, 3), the lattice translation of the source; that of the reverse is exactly its negative.
    """
    return run("pairs", None, edge_index, edge_shift, num_nodes)


def spherical_harmonics(x: Tensor, plan: HarmonicsPlan) -> Tensor:
    """Real spherical harmonics of vectors: ``(..., 3) -> (..., Σ (2l + 1))``."""
    return run("spherical_harmonics", plan, x)


def radial_basis(vectors: Tensor, plan: RadialPlan) -> Tensor:
    """Radial functions of the lengths of vectors, in Å: ``(..., 3) -> (..., num_basis)``."""
    return run("radial_basis", plan, vectors)


def activation(x: Tensor, plan: ActivationPlan) -> Tensor:
    """c φ(a x) of each element."""
    return run("activation", plan, x)


def gate(x: Tensor, plan: ActivatedGatePlan) -> Tensor:
    """Activated scalars, then each gated irrep times its activated gate: ``(..., irreps_in.dim -> irreps_out.dim)``."""
    return run("gate", plan, x)


def linear(x: Tensor, w: Tensor | None, b: Tensor | None, plan: LinearPlan) -> Tensor:
    """Linear map ``(..., [f_in,] irreps_in.dim) -> (..., [f_out,] irreps_out.dim)``.

    Args:
        w: ``weight_shape``, shared by all rows, or ``(..., *weight_shape)``; None if there are no weights.
        b: ``bias_shape``, shared by all rows, or ``(..., *bias_shape)``; None if there are no biases.
    """
    return run("linear", plan, x, w, b)


def indexed_linear(x: Tensor, w: Tensor, index: Tensor, plan: ProductPlan) -> Tensor:
    """Linear map of each row with the weights of its index: ``(n, irreps_in1.dim) -> (n, irreps_out.dim)``.

    Args:
        w: ``(weight_numel,)``.
        index: ``(n,)`` integers, each the number of an even scalar of in2.
        plan: fully connected product with even scalars.
    """
    return run("indexed_linear", plan, x, w, index)


def self_connection(
    x: Tensor, attributes: Tensor, w: Tensor, species: Tensor | None, plan: SelfConnectionPlan
) -> Tensor:
    """Fully connected product of x ``(n, irreps_in1.dim)`` with even scalars -> ``(n, irreps_out.dim)``.

    Args:
        attributes: ``(n, irreps_in2.dim)``.
        w: ``(weight_numel,)``.
        species: ``(n,)``, if nodes of one species have the same attributes.
    """
    return run("self_connection", plan, x, attributes, w, species)


def product(x: Tensor, y: Tensor, w: Tensor | None, plan: ProductPlan) -> Tensor:
    """Tensor product ``out_k = Σ_paths Σ_uvij c w_uv.. C_ijk x_ui y_vj`` along the paths of the plan.

    Args:
        x, y: ``(..., irreps_in1.dim)`` and ``(..., irreps_in2.dim)``; leading dimensions are broadcast.
        w: ``(weight_numel,)``, shared by all rows, or ``(..., weight_numel)``; None if there are no weights.

    Returns:
        ``(..., irreps_out.dim)``.

    Raises:
        ValueError: a last dimension that is not the plan's, or missing weights.
    """
    _check_last("x", x, plan.dims[0])
    _check_last("y", y, plan.dims[1])
    if w is not None:
        _check_last("w", w, plan.weight_numel)
    elif plan.weight_numel > 0:
        raise ValueError(f"the product has {plan.weight_numel} weights, got none")
    w = x.new_empty(0) if w is None else w
    if x.ndim == y.ndim == 2 and not torch.compiler.is_compiling() and _same_rows(x, y, w):
        return run("product", plan, x, y, w)
    lead = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1], () if w.ndim == 1 else w.shape[:-1])
    rows = prod(lead)
    x, y = (t.expand(*lead, -1).reshape(rows, t.shape[-1]) for t in (x, y))
    w = w if w.ndim == 1 else w.expand(*lead, -1).reshape(rows, plan.weight_numel)
    return run("product", plan, x, y, w).view(*lead, plan.dims[2])


def _same_rows(x: Tensor, y: Tensor, w: Tensor) -> bool:
    return x.shape[0] == y.shape[0] and (w.ndim == 1 or w.shape[:-1] == x.shape[:-1])


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
        plan: channel-wise (uvu) paths, such as those of `e3frame.algebra.paths.plan_convolution`.
        num_nodes: number of target nodes.
        rows: ``(e,)``, the row of w for each edge, if edges share weights; see `pairs`.

    Returns:
        ``(num_nodes, irreps_out.dim)``. Targets without edges are zero.

    Raises:
        ValueError: a plan with another connection than uvu, shapes that do not fit, or tensors of different types.
        IndexError: an edge names a node that does not exist.
    """
    _check_convolution(x, edge_index, y, w, plan, rows)
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):  # not on the meta device
        dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), w.dtype)
        x, y, w = x.to(dtype), y.to(dtype), w.to(dtype)
    if not x.dtype == y.dtype == w.dtype:
        raise ValueError(f"x, y and w must be of one type, got {x.dtype}, {y.dtype} and {w.dtype}")
    return run("convolution", plan, x, edge_index, y, w, num_nodes, rows)


def _check_convolution(
    x: Tensor, edge_index: Tensor, y: Tensor, w: Tensor, plan: ProductPlan, rows: Tensor | None
) -> None:
    other = _other_connection(plan)
    if other:
        raise ValueError(f"a convolution needs channel-wise (uvu) paths, got {other!r}")
    _check_last("x", x, plan.dims[0])
    _check_last("y", y, plan.dims[1])
    _check_last("w", w, plan.weight_numel)
    given = y.shape[0] if rows is None else w.shape[0]
    if edge_index.shape != (2, y.shape[0]) or (w.ndim == 2 and w.shape[0] != given) or w.ndim > 2:
        raise ValueError(
            "edge_index, y and w need one entry for each edge, "
            f"got shapes {tuple(edge_index.shape)}, {tuple(y.shape)}, {tuple(w.shape)}"
        )
    if edge_index.dtype != torch.int64:
        raise ValueError(f"edge_index must be int64, got {edge_index.dtype}")
    if rows is not None and rows.shape != y.shape[:1]:
        raise ValueError(f"rows must have shape ({y.shape[0]},), got {tuple(rows.shape)}")


@kept_with_plans
def _other_connection(plan: ProductPlan) -> str:
    """A connection mode of the plan that is not uvu; empty if there is none."""
    return next((ins.connection_mode for ins in plan.instructions if ins.connection_mode != "uvu"), "")


def symmetric_product(x: Tensor, w: Tensor, index: Tensor | None, plan: SymmetricProductPlan) -> Tensor:
    """Weighted sum of all products of a channel's components: ``(n, irreps_in.dim) -> (n, irreps_out.dim)``.

    Args:
        w: ``(rows, num_couplings, mul)``.
        index: ``(n,)`` integers, the row of w for each row of x; None if w has one row.

    Raises:
        ValueError: shapes that do not fit, or tensors of different types.
        IndexError: an index that is out of range.
    """
    _check_last("x", x, plan.irreps_in.dim)
    if w.shape != plan.weight_shape:
        raise ValueError(f"w must have shape {plan.weight_shape}, got {tuple(w.shape)}")
    if index is None and plan.rows != 1:
        raise ValueError(f"w has {plan.rows} rows, so that index is required")
    if x.ndim != 2 or (index is not None and index.shape != x.shape[:1]):
        given = "" if index is None else f" and {tuple(index.shape)}"
        raise ValueError(f"x must have shape (n, {plan.irreps_in.dim}) and index (n,), got {tuple(x.shape)}{given}")
    if x.dtype != w.dtype:
        raise ValueError(f"x and w must be of one type, got {x.dtype} and {w.dtype}")
    return run("symmetric_product", plan, x, w, index)


def _check_last(name: str, tensor: Tensor, expected: int) -> None:
    if tensor.shape[-1] != expected:
        raise AssertedError(f"{name} must have a last dimension of {expected}, got shape {tuple(tensor.shape)}")

"""Activations, gates and radial functions."""

from __future__ import annotations

import torch
from torch import Tensor

from e3frame.algebra.functions import ActivatedGatePlan, ActivationPlan, RadialPlan
from e3frame.kernels.functions import (
    FUNCTIONS,
    bessel_basis,
    cosine_envelope,
    gaussian_basis,
    polynomial_envelope,
    safe_norm,
)


def activation(x: Tensor, plan: ActivationPlan) -> Tensor:
    """See `e3frame.kernels.activation`."""
    function = FUNCTIONS[plan.function] if isinstance(plan.function, str) else plan.function
    out = function(x if plan.a == 1.0 else x * plan.a)
    return out if plan.c == 1.0 else out * plan.c


def gate(x: Tensor, plan: ActivatedGatePlan) -> Tensor:
    """See `e3frame.kernels.gate`."""
    scalars = _activated(_take(x, plan.gate.scalars), plan.scalars)
    gates = _activated(_take(x, plan.gate.gates), plan.gates)
    gated = _take(x, plan.gate.gated)
    out, i, j = [scalars], 0, 0
    for mul, ir in plan.gate.irreps_gated:
        y = gated[..., i : i + mul * ir.dim].unflatten(-1, (mul, ir.dim))
        out.append((y * gates[..., j : j + mul].unsqueeze(-1)).flatten(-2))
        i, j = i + mul * ir.dim, j + mul
    return torch.cat(out, dim=-1)


def _take(x: Tensor, slices: tuple[slice, ...]) -> Tensor:
    pieces = [x[..., piece] for piece in slices]
    return pieces[0] if len(pieces) == 1 else torch.cat([x[..., :0], *pieces], dim=-1)


def _activated(x: Tensor, acts: tuple[tuple[int, ActivationPlan], ...]) -> Tensor:
    """Scalars with an activation for each stretch of them."""
    parts = x.split([count for count, _ in acts], dim=-1) if acts else ()
    out = [activation(part, act) for part, (_, act) in zip(parts, acts, strict=True)]
    return out[0] if len(out) == 1 else torch.cat([x[..., :0], *out], dim=-1)


def radial_basis(vectors: Tensor, plan: RadialPlan) -> Tensor:
    """See `e3frame.kernels.radial_basis`."""
    d = safe_norm(vectors)
    order = torch.arange(plan.num_basis, dtype=d.dtype, device=d.device)
    if plan.basis == "bessel":
        functions = bessel_basis(d, order + 1, plan.r_max)
    else:
        functions = gaussian_basis(d, order, plan.r_max)
    cosine = plan.envelope == "cosine"
    cutoff = cosine_envelope(d, plan.r_max) if cosine else polynomial_envelope(d, plan.p, plan.r_max)
    return functions * cutoff.unsqueeze(-1)


def edge_vectors(pos: Tensor, edge_index: Tensor, edge_shift: Tensor | None, plan: None = None) -> Tensor:
    """See `e3frame.kernels.edge_vectors`."""
    vectors = pos.index_select(0, edge_index[0]) - pos.index_select(0, edge_index[1])
    return vectors if edge_shift is None else vectors + edge_shift

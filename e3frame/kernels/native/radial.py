"""Radial functions of edge vectors."""

from __future__ import annotations

from functools import lru_cache
from typing import get_args, get_type_hints

from e3frame.algebra.functions import RadialPlan
from e3frame.kernels.backends import kept_with_plans
from e3frame.kernels.native import library
from e3frame.kernels.native.unary import Unary, expect
from e3frame.kernels.reference.pointwise import radial_basis

# In the order in which the library numbers them.
_BASES = get_args(get_type_hints(RadialPlan)["basis"])
_ENVELOPES = get_args(get_type_hints(RadialPlan)["envelope"])


@kept_with_plans
def text_of(plan: RadialPlan) -> str:
    """Write radial functions as text."""
    return f"{plan.basis} {plan.num_basis} {plan.envelope} {plan.p} {plan.r_max.hex()}"


def _read(text: str) -> RadialPlan:
    basis, num_basis, envelope, p, r_max = text.split()
    plan = RadialPlan(basis, int(num_basis), envelope, int(p), float.fromhex(r_max))  # type: ignore[arg-type] # checked next
    known = basis in _BASES and envelope in _ENVELOPES
    library.require(known and plan.num_basis > 0 and plan.r_max > 0 and plan.p >= 0, "a radial basis", text)
    return plan


@lru_cache
def _compiled(text: str) -> library.Radial:
    plan = _read(text)
    kinds = _BASES.index(plan.basis), _ENVELOPES.index(plan.envelope)
    return library.Radial(kinds[0], plan.num_basis, kinds[1], plan.p, plan.r_max)


def _width(text: str, n: int) -> int:
    expect("radial", n, 3)
    return _compiled(text).num


radial = Unary("radial", _compiled, _width, lambda vectors, text: radial_basis(vectors, _read(text)))
"""``radial(vectors, text)``: ``(..., 3) -> (..., num_basis)``."""

"""Listed paths of a product, for ``tensor_product`` and ``message``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from e3frame.algebra.irreps import Irreps
from e3frame.algebra.paths import ProductPlan, plan_explicit
from e3frame.spec.base import Spec
from e3frame.spec.errors import SpecError


class Path(Spec):
    """One product of two terms into a term of irreps_out; terms count from 0."""

    in1: int = Field(ge=0)
    """Term of the first field: x1, or the features that a message sends."""
    in2: int = Field(ge=0)
    """Term of the second field: x2, or the harmonics of a message."""
    out: int = Field(ge=0)
    """Term of irreps_out."""


def plan_listed(a: Irreps, b: Irreps, irreps_out: Irreps | None, paths: Sequence[tuple[Any, ...]]) -> ProductPlan:
    """Plan the paths listed under the key ``paths``.

    Raises:
        SpecError: a path breaks a rule, or a term of ``irreps_out`` has none.
    """
    try:
        plan = plan_explicit(a, b, irreps_out, paths)
    except ValueError as error:
        number = re.match(r"instruction (\d+)[: ]*", str(error))
        where = ("paths", int(number[1])) if number else ("paths",)
        raise SpecError(where, str(error)[number.end() :] if number else str(error)) from None
    missed = [str(term) for term, hit in zip(plan.irreps_out, plan.output_mask, strict=True) if not hit]
    if missed:
        problem = f"no path leads to {missed[0]} of irreps_out"
        raise SpecError(("paths",), problem, "add a path, or remove the term")
    return plan

"""Prescribed total: one number for all graphs, or a field with one per graph."""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Any

from pydantic import BeforeValidator

from e3frame.algebra.irreps import Irreps
from e3frame.spec.base import mistake, shown
from e3frame.spec.errors import SpecError
from e3frame.spec.layer import Binding, Scope


def _number_or_name(raw: Any) -> float | str:
    if isinstance(raw, str) and raw.isidentifier():
        return raw
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not isfinite(raw):
        raise mistake(f"expected a number or the name of a field per graph, got {shown(raw)}")
    return float(raw)


Total = Annotated[float | str, BeforeValidator(_number_or_name)]
"""A number such as ``-1``, or a field of irreps 0e per graph, such as the input ``total_charge`` of a model."""


def read_total(scope: Scope, total: float | str, at: str) -> tuple[Binding, ...]:
    """Return the field with the total of each graph; empty if the total is a number.

    Raises:
        SpecError: the field does not exist, or is not one even scalar per graph.
    """
    if not isinstance(total, str):
        return ()
    if total not in scope.bindings:
        hint = f"to declare it as an input of the model: inputs: {{{total}: 0e}}"
        per_graph = [known.name for known in scope.bindings.values() if known.domain == "graph"]
        raise SpecError((at,), f"no field is named '{total}'", "\n".join([*_listed(per_graph), hint]))
    field = scope.read(total, "graph", at)
    if field.irreps.simplify() != Irreps("0e"):
        raise SpecError((at,), f"one 0e per graph is required, but {field} is not")
    return (field,)


def _listed(names: list[str]) -> list[str]:
    return [f"fields per graph so far: {', '.join(names)}"] if names else []

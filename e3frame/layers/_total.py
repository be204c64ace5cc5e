"""A sum that is given: one number for all graphs, or a field with that of each."""

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
        raise mistake(f"a number, or the name of a field per graph, is required, got {shown(raw)}")
    return float(raw)


Total = Annotated[float | str, BeforeValidator(_number_or_name)]
"""``-1``, or ``total_charge`` for an input of the model, or any other field of irreps 0e per graph."""


def read_total(scope: Scope, total: float | str, at: str) -> tuple[Binding, ...]:
    """The field that holds the total of each graph, if it is not a number.

    Raises:
        SpecError: there is no such field, or it is not one even scalar per graph.
    """
    if not isinstance(total, str):
        return ()
    if total not in scope.bindings:
        hint = f"an input is declared in the model: inputs: {{{total}: 0e}}"
        per_graph = [known.name for known in scope.bindings.values() if known.domain == "graph"]
        raise SpecError((at,), f"no field is called '{total}'", "\n".join([*_listed(per_graph), hint]))
    field = scope.read(total, "graph", at)
    if field.irreps.simplify() != Irreps("0e"):
        raise SpecError((at,), f"one number per graph (0e) is required, {field} is not")
    return (field,)


def _listed(names: list[str]) -> list[str]:
    return [f"fields per graph so far: {', '.join(names)}"] if names else []

"""YAML forms of two keys of a target: weights that change over time, and index symmetries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, TypeAdapter, WithJsonSchema, WrapValidator

from e3frame.algebra.cartesian import cartesian_irreps
from e3frame.spec.base import mistake, shown

_BY_EPOCH: TypeAdapter[dict[int, float]] = TypeAdapter(
    dict[Annotated[int, Field(ge=0)], Annotated[float, Field(ge=0, allow_inf_nan=False)]]
)


def _weight(raw: Any, number: Callable[[Any], float]) -> Any:
    if not isinstance(raw, Mapping):
        return number(raw)
    weights = _BY_EPOCH.validate_python(raw)
    if 0 not in weights:
        raise mistake("the weight of epoch 0 is missing", "add it, as in {0: 1, 100: 10}")
    return dict(sorted(weights.items()))


if TYPE_CHECKING:
    Weight = float | dict[int, float]
else:
    Weight = Annotated[
        float,
        Field(ge=0),
        WrapValidator(_weight),
        PlainSerializer(lambda given: dict(given) if isinstance(given, Mapping) else given),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "number", "minimum": 0},
                    {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}},
                ]
            }
        ),
    ]
"""A number, or a mapping {epoch: weight from this epoch on}."""


def _formula(raw: Any) -> Any:
    example = "such as ij=ji for a symmetric matrix, ij for any, ij=-ji for an antisymmetric one"
    if not isinstance(raw, str) or not raw.strip():
        raise mistake(f"a symmetry states which orders of indices are equal; got {shown(raw)}", example)
    try:
        irreps = cartesian_irreps(raw)
    except RuntimeError as error:
        raise mistake(str(error), example) from None
    if irreps.dim == 0:
        raise mistake(f"only the zero tensor has the symmetry {raw}", example)
    return raw


Formula = Annotated[str, BeforeValidator(_formula)]
"""Symmetry of the indices of a Cartesian tensor."""

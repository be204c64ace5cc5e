"""Validation of raw mappings as specs; pydantic errors become our messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from e3frame.spec.base import Spec, shown
from e3frame.spec.errors import SpecError, did_you_mean

S = TypeVar("S", bound=Spec)

_BOUNDS = {
    "greater_than": (">", "gt"),
    "greater_than_equal": (">=", "ge"),
    "less_than": ("<", "lt"),
    "less_than_equal": ("<=", "le"),
}
_TYPES = {
    "int": "an integer",
    "float": "a number",
    "finite_number": "a finite number",
    "bool": "true or false",
    "string": "a text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
}


def validate(cls: type[S], raw: Any, **context: Any) -> S:
    """Validate a raw mapping as ``cls``.

    Raises:
        SpecErrors: all mistakes, each with its path.
    """
    try:
        return cls.model_validate(raw, context=context)
    except ValidationError as error:
        raise SpecErrors(list(map(_reworded, _causes(error)))) from None


def _causes(error: ValidationError) -> list[Any]:
    """Drop errors that follow from others: missing keys, and lists that are too short because of a wrong item."""
    found = error.errors(include_url=False)
    locs = [details["loc"] for details in found]
    return [
        details
        for details in found
        if (details["type"] != "missing" or isinstance(details["loc"][-1], int))
        and not (details["type"] == "too_short" and any(loc[:-1] == details["loc"] for loc in locs))
    ]


class SpecErrors(Exception):
    """All errors of a config; the command line shows the one that comes first in the file."""

    def __init__(self, errors: list[SpecError]) -> None:
        super().__init__(*errors)
        self.errors = errors


def _reworded(details: Any) -> SpecError:
    kind, loc = details["type"], tuple(part for part in details["loc"] if part != "[key]")
    context: Mapping[str, Any] = details.get("ctx", {})
    if kind == "mistake":
        return SpecError(loc, context["problem"], context["hint"], offset=context["offset"], at_key=context["at_key"])
    given = shown(details["input"])
    if kind == "missing":  # in a list of a fixed length
        return SpecError(loc[:-1], f"at least {int(loc[-1]) + 1} values are required, got {given}")
    if kind in _BOUNDS:
        sign, bound = _BOUNDS[kind]
        return SpecError(loc, f"must be {sign} {context[bound]:g}, got {given}")
    if kind in ("literal_error", "enum"):
        options = [option.strip("'") for option in context["expected"].replace(" or ", ", ").split(", ")]
        return SpecError(loc, f"must be one of {', '.join(options)}; got {given}", _near(given, options))
    if kind == "too_short":
        return SpecError(
            loc, f"at least {context['min_length']} must be given, got {context['actual_length']}: {given}"
        )
    base = kind.removesuffix("_parsing").removesuffix("_type").removesuffix("_from_float").removesuffix("_parsing_size")
    if base in _TYPES:
        return SpecError(loc, f"{_TYPES[base]} is required, got {given}")
    return SpecError(loc, details["msg"].replace("Input should", "must") + f"; got {given}")


def _near(given: str, options: list[str]) -> str | None:
    hint = did_you_mean(given, options)
    return hint if hint.startswith("did you mean") else None

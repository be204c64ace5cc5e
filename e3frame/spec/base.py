"""Pydantic base class of all specs: frozen, and unknown keys are errors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

from e3frame.spec.docs import summaries
from e3frame.spec.errors import did_you_mean


def mistake(
    problem: str, hint: str | None = None, *, offset: int | None = None, at_key: bool = False
) -> PydanticCustomError:
    """Return a validation error with our own wording, to be raised in a pydantic validator."""
    context = {"problem": problem, "hint": hint, "offset": offset, "at_key": at_key}
    return PydanticCustomError("mistake", "{problem}", context)


def mistake_at(key: str | tuple[str, ...], value: Any, error: PydanticCustomError) -> ValidationError:
    """Return a :func:`mistake` at a key, or a path of keys, of the mapping that is being validated."""
    path = (key,) if isinstance(key, str) else key
    return ValidationError.from_exception_data("spec", [InitErrorDetails(type=error, loc=path, input=value)])


@dataclass(frozen=True, eq=False)
class AlsoWritten:
    """Marks a field that has a second, short form in YAML; ``schema`` is the JSON Schema of that form."""

    schema: dict[str, Any]

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [self.schema, handler(core)]}


class Spec(BaseModel):
    """A frozen, strict mapping. Unknown keys are errors; attribute docstrings are the keys' documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    @classmethod
    def known_keys(cls) -> Collection[str]:
        """Return the allowed keys."""
        return cls.model_fields

    @model_validator(mode="wrap")
    @classmethod
    def _only_known_keys(cls, raw: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(raw, cls):
            return raw
        if not isinstance(raw, Mapping):
            raise mistake(f"a mapping is required, got {shown(raw)}", f"keys: {', '.join(cls.known_keys())}")
        for key in raw:
            if key not in cls.known_keys():
                hint = did_you_mean(str(key), cls.known_keys(), "keys")
                raise mistake_at(str(key), raw[key], mistake("unknown key", hint, at_key=True))
        missing = [key for key, field in cls.model_fields.items() if field.is_required() and key not in raw]
        try:
            valid = handler(raw)
        except ValidationError as error:
            if not missing or any(details["type"] != "missing" for details in error.errors()):
                raise  # a wrong value is reported before a missing key
        if missing:
            what = summaries(cls).get(missing[0])
            raise mistake_at(missing[0], None, mistake("this key is required" + (f": {what}" if what else "")))
        return valid

    def replace(self, **changes: Any) -> Self:
        """Return a copy with attributes replaced, without validating them."""
        return self.model_copy(update=changes)


def shown(value: Any) -> str:
    """Format a value as in YAML, shortened."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value) if not isinstance(value, str) else (value or "''")
    return text if len(text) <= 60 else text[:57] + "..."

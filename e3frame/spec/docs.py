"""Documentation of a spec: for each key its type, its default, and the docstring below its attribute.

Docstrings are read from the source on demand.
"""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from itertools import pairwise
from textwrap import dedent
from typing import Any, NamedTuple

from pydantic import BaseModel


class Key(NamedTuple):
    """A key as shown in the documentation; ``default`` is YAML, or None if the key is required."""

    name: str
    type: str
    default: str | None
    doc: str


def keys_of(cls: type[BaseModel]) -> list[Key]:
    """Return the keys of a spec, without ``kind``."""
    docs = key_docs(cls)
    schema = cls.model_json_schema()
    types = {name: _spoken(inner, schema.get("$defs", {})) for name, inner in schema["properties"].items()}
    return [
        Key(name, types[name], None if field.is_required() else _written(field.default), docs.get(name, ""))
        for name, field in cls.model_fields.items()
        if name != "kind"
    ]


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, BaseModel):
        return _written(value.model_dump(mode="json", exclude_none=True))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_written, value))}]"
    return str(value)


_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_TYPES = {"string": "text", "number": "number", "integer": "integer", "boolean": "true or false", "null": "null"}


def _spoken(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Describe the type of a JSON Schema in words."""
    if "$ref" in schema:
        return _spoken(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_spoken(each, definitions) for each in schema["anyOf"]))
    if "x-family" in schema:
        return f"{schema['x-family']}, by its kind"
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ", ".join(map(_written, values)) if len(values) < 9 else "name"
    if schema.get("type") == "array" and "items" not in schema:
        return "list"
    if schema.get("type") == "array":
        kind, _, rest = _spoken(schema["items"], definitions).partition(" ")
        plural = "" if kind in ("text", "true") or "," in kind else "s"
        return "list" if kind == "any" else f"list of {kind}{plural} {rest}".strip()
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        return f"mapping of names to {_spoken(inner, definitions)}" if isinstance(inner, dict) else "mapping"
    if "format" in schema:
        return str(schema["format"])
    bounds = [f"{sign} {schema[key]:,}" for key, sign in _BOUNDS.items() if key in schema]
    return " ".join([_TYPES.get(str(schema.get("type")), "any"), ", ".join(bounds)]).strip()


_SENTENCE = re.compile(r".*?(?<! al)(?<!\.\.)\.(?= |$)|.*")
"""Text up to the first full stop that does not end ``et al.`` or an ellipsis."""


@cache
def key_docs(cls: type[BaseModel]) -> dict[str, str]:
    """Return the documentation of each key, including inherited ones; keys without a docstring are left out."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, BaseModel) and base.__module__.partition(".")[0] != "pydantic":
            docs |= _own_docs(base)
    return {name: docs[name] for name in cls.model_fields if name in docs}


def summaries(cls: type[BaseModel]) -> dict[str, str]:
    """Return the first sentence of each key's documentation, as plain text on one line."""
    return {name: summary(text) for name, text in key_docs(cls).items()}


def summary(text: str) -> str:
    """Return the first sentence of a docstring, as plain text on one line.

    >>> summary("Frames per step, or ``{atoms: 500}``. Every frame\\ncomes once.")
    'Frames per step, or {atoms: 500}.'
    """
    plain = " ".join(text.replace("``", "").split())
    return _SENTENCE.match(plain)[0]  # type: ignore[index]  # the pattern matches any text


def _own_docs(cls: type) -> dict[str, str]:
    try:
        tree = ast.parse(dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):  # no source is available, as in an interactive session
        return {}
    body = tree.body[0].body  # type: ignore[attr-defined]
    docs = {}
    for statement, after in pairwise(body):
        named = isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            docs[statement.target.id] = inspect.cleandoc(str(after.value.value))
    return docs

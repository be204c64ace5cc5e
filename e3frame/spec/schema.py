"""JSON Schema of model files, with which editors complete keys, show their documentation and underline mistakes."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from e3frame.spec.base import Spec
from e3frame.spec.docs import key_docs
from e3frame.spec.registry import FAMILY, Kinded


def json_schema(root: type[Spec], families: list[type[Kinded]]) -> dict[str, Any]:
    """Return the schema of ``root``; fields that take a member of a family accept all of its kinds."""
    members = [member for family in families for member in family.members.values()]
    references, schema = models_json_schema([(model, "validation") for model in (root, *members)])
    definitions = schema["$defs"]
    kinds = {
        family.family: [references[member, "validation"] for _, member in sorted(family.members.items())]
        for family in families
    }
    for model in (root, *members):
        _describe(model, definitions[references[model, "validation"]["$ref"].rpartition("/")[2]])
    top = definitions.pop(references[root, "validation"]["$ref"].rpartition("/")[2])
    filled = _fill({**top, "$defs": definitions}, kinds)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **filled}


def _describe(model: type[Spec], definition: dict[str, Any]) -> None:
    for key, text in key_docs(model).items():
        definition["properties"][key]["description"] = text
    if "kind" in definition["properties"]:
        definition["required"] = ["kind", *definition.get("required", [])]


def _fill(node: Any, kinds: dict[str, list[dict[str, str]]]) -> Any:
    """Replace placeholders of :class:`~e3frame.spec.registry.OneOf` by the members of their family."""
    if isinstance(node, list):
        return [_fill(item, kinds) for item in node]
    if not isinstance(node, dict):
        return node
    rest = {key: _fill(value, kinds) for key, value in node.items() if key != FAMILY}
    return {**rest, "oneOf": kinds[node[FAMILY]]} if FAMILY in node else rest

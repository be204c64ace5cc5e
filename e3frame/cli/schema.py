"""``e3frame schema``: JSON Schema of a model file, so that editors complete and check it."""

from __future__ import annotations

import json

from e3frame.cli.arguments import Parser
from e3frame.model import ModelSpec
from e3frame.spec.registry import Kinded
from e3frame.spec.schema import json_schema


def parser() -> Parser:
    return Parser("schema", "e3frame schema > model.schema.json")


def main(arguments: list[str]) -> int:
    parser().parse_args(arguments)
    families = [family for family in Kinded.families() if family.saved]
    print(json.dumps(json_schema(ModelSpec, families), indent=2, ensure_ascii=False))
    return 0

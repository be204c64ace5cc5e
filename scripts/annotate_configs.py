"""Write the comments of configs/: each key gets the first sentence of its docstring, which is the only place where an
option is described. ``--check`` changes nothing, and fails if a comment is out of date.

    python scripts/annotate_configs.py
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel

from e3frame.cli.evaluate import EvaluateConfig
from e3frame.compose import config_folder
from e3frame.config.run import RunConfig
from e3frame.spec.docs import summaries
from e3frame.spec.registry import Kinded
from e3frame.sweep.spec import SweepSpec

ROOTS = {"config.yaml": RunConfig, "evaluate.yaml": EvaluateConfig}
GROUPS = ("data", "logger", "optimizer", "scheduler", "task", "trainer")
"""Groups whose files give every option. Comments of models and experiments are about the values chosen there."""


def described(folder: Path) -> Iterator[tuple[Path, type[BaseModel]]]:
    """Each file whose keys are options, with the spec of its top level."""
    for name, spec in ROOTS.items():
        yield folder / name, spec
    for group in GROUPS:
        annotation = RunConfig.model_fields[group].annotation
        yield from ((file, annotation) for file in sorted((folder / group).glob("*.yaml")))
    yield from ((file, SweepSpec) for file in sorted((folder / "sweep").glob("*.yaml")))


def annotated(text: str, spec: type[BaseModel]) -> str:
    """A YAML file with a comment behind each key that ``spec`` documents; each key of a spec is described once."""
    lines, known = text.splitlines(), set()
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for key, end, cls in _keys(node, spec):
        text = summaries(cls).get(key.value)
        if text is None:
            continue
        line = key.start_mark.line
        kept = lines[line][: key.end_mark.column + 1 if end is None else end]
        required = "Required. " if kept.endswith(": null") and not _takes_null(cls, key.value) else ""
        comment = f" # {required}{_values(cls, key.value)}{text.removesuffix('.')}"
        lines[line] = kept + (comment if (cls, key.value) not in known else "")
        known.add((cls, key.value))
    return "\n".join(lines) + "\n"


def _keys(node: Any, spec: Any) -> Iterator[tuple[yaml.Node, int | None, type[BaseModel]]]:
    """Keys in block style, each with the column where its value ends (None: on another line) and its spec."""
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        return
    kind = next((value.value for key, value in node.value if key.value == "kind"), None)
    cls = _spec(spec, kind)
    for key, value in node.value:
        if cls is None:
            inside = get_args(spec)[1:] if get_origin(spec) is dict else ()
            yield from _keys(value, inside[0] if inside else None)
        elif key.value in cls.model_fields:
            same = value.start_mark.line == value.end_mark.line == key.start_mark.line
            yield key, value.end_mark.column if same else None, cls
            yield from _keys(value, cls.model_fields[key.value].annotation)


def _spec(annotation: Any, kind: str | None) -> type[BaseModel] | None:
    """The spec that an annotation takes, for a family the member named ``kind``."""
    found = [part for part in (annotation, *get_args(annotation)) if isinstance(part, type)]
    found = [part for part in found if issubclass(part, BaseModel)]
    if get_origin(annotation) is dict or not found:
        return None
    return found[0].members.get(kind, found[0]) if issubclass(found[0], Kinded) else found[0]


def _values(cls: type[BaseModel], key: str) -> str:
    """``mse, mae or huber. `` for a key that takes one of a few words."""
    annotation = cls.model_fields[key].annotation
    literals = [part for part in (annotation, *get_args(annotation)) if get_origin(part) is Literal]
    words = [str(word) for literal in literals for word in get_args(literal)]
    return f"{', '.join(words[:-1])} or {words[-1]}. " if len(words) > 1 else ""


def _takes_null(cls: type[BaseModel], key: str) -> bool:
    annotation = cls.model_fields[key].annotation
    return type(None) in (annotation, *get_args(annotation))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a comment is out of date")
    check, folder, old = parser.parse_args().check, config_folder(), []
    for file, spec in described(folder):
        text = file.read_text(encoding="utf-8")
        new = annotated(text, spec)
        if new != text:
            old.append(str(file.relative_to(folder.parent)))
            if not check:
                file.write_text(new, encoding="utf-8")
    if old:
        print(f"{'out of date' if check else 'written'}: {', '.join(old)}")
    return int(check and bool(old))


if __name__ == "__main__":
    sys.exit(main())

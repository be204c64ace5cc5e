"""Tables of the keys that specs have, and the page with all keys of a run and of a search."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, get_args

from e3frame.config.run import RunConfig
from e3frame.spec.base import Spec
from e3frame.spec.docs import keys_of
from e3frame.spec.layer import LayerSpec
from e3frame.spec.registry import Kinded
from e3frame.sweep.spec import SweepSpec


def keys_page() -> str:
    """The keys of a run and of a search, group by group."""
    parts = [
        "# Keys of a run",
        "All keys may be set in files and on the command line, as `trainer.max_epochs=20`; in Python they are keywords "
        "of `e3frame.train`. Layers have [pages of their own](layers/index.md).",
        keys_table(RunConfig),
        *sections(RunConfig, ""),
        "## sweep",
        "Keys of a [search](../guide/sweeps.md), which `e3frame sweep` takes beside those of a run.",
        keys_table(SweepSpec),
        *sections(SweepSpec, "sweep."),
    ]
    return "\n\n".join(parts) + "\n"


def sections(spec: type[Spec], prefix: str) -> Iterator[str]:
    """A section for each key of a spec that has keys itself, and for the keys within; of a family, its kinds.

    Keys that share a spec, such as ``batch_size`` and ``eval_batch_size``, have one section.
    """
    for path, inner in distinct(nested(spec, prefix)):
        yield f"{'##' if '.' not in path else '###'} {path}"
        yield prose(summary(inner))
        kinds = members(inner)
        if not kinds:
            yield keys_table(inner)
            yield from sections(inner, f"{path}.")
            continue
        common = set.intersection(*({key.name for key in keys_of(kind)} for kind in kinds.values()))
        common = common if len(common) > 3 else set()
        if common:
            yield f"All kinds of {path} have:"
            yield keys_table(next(iter(kinds.values())), common)
        for name, kind in kinds.items():
            own = {key.name for key in keys_of(kind)} - common
            yield f"### {path}: {name}"
            yield prose(summary(kind))
            yield from [keys_table(kind, own)] if own else []
        within = {place: each for kind in kinds.values() for place, each in nested(kind, f"{path}.").items()}
        for place, each in distinct(within):
            yield from (f"### {place}", prose(summary(each)), keys_table(each))


def nested(spec: type[Spec], prefix: str = "") -> dict[str, type[Spec]]:
    """The specs and families that are values of keys, by key; layers have pages of their own."""
    found = {}
    for key, field in spec.model_fields.items():
        within, many = _spec_in(field.annotation)
        if within is not None and not issubclass(within, LayerSpec):
            found[f"{prefix}{key}{'.NAME' if many else ''}"] = within
    return found


def _spec_in(annotation: Any, many: bool = False) -> tuple[type[Spec] | None, bool]:
    """The spec in an annotation, and whether it is a value of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return annotation, many
    origin = getattr(annotation, "__origin__", None)
    inner = [_spec_in(each, many or origin is dict) for each in get_args(annotation)]
    return next((each for each in inner if each[0] is not None), (None, many))


def distinct(specs: dict[str, type[Spec]]) -> Iterator[tuple[str, type[Spec]]]:
    """Each spec under the first of its keys."""
    yield from ((path, spec) for path, spec in specs.items() if path == next(p for p in specs if specs[p] is spec))


def members(spec: type[Spec]) -> dict[str, type[Spec]]:
    """The kinds of a family, or the forms of a spec that has several; empty for any other spec."""
    if issubclass(spec, Kinded):
        return dict(sorted(spec.members.items()))
    forms = [] if spec.model_fields else spec.__subclasses__()
    return {", ".join(key for key, field in form.model_fields.items() if field.is_required()): form for form in forms}


def keys_table(spec: type[Spec], only: set[str] | None = None) -> str:
    """The keys of a spec, or some of them, as a table."""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key in keys_of(spec):
        if only is None or key.name in only:
            default = "required" if key.default is None else f"`{key.default}`"
            rows.append(f"| `{key.name}` | {key.type} | {cell(default)} | {cell(prose(key.doc))} |")
    return "\n".join(rows) if len(rows) > 2 else "It has no keys."


def summary(spec: type[Spec]) -> str:
    """The first paragraph of a docstring."""
    return " ".join((inspect.getdoc(spec) or "").split("\n\n")[0].split())


def prose(text: str) -> str:
    """A docstring as Markdown."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    plain = [part.replace("<", "&lt;").replace("$", r"\$").replace("*", r"\*") for part in text.split("`")]
    code = text.split("`")
    return "`".join(plain[i] if i % 2 == 0 else code[i] for i in range(len(code)))


def cell(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.split()).replace("|", r"\|")

"""A YAML file as a raw mapping of which each value's place is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from e3frame.spec.base import Spec
from e3frame.spec.errors import SpecError, UserError
from e3frame.spec.foreign import ours
from e3frame.spec.regular import read_regular
from e3frame.spec.sources import Sources
from e3frame.spec.validate import SpecErrors, validate

S = TypeVar("S", bound=Spec)

_BASE: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc]
    """YAML as OmegaConf, and with it Hydra, reads it: ``1e-3`` is a number, a date is text, no key stands twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith((":timestamp", ":float"))]
        for first, resolvers in _BASE.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag != yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG:
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"found duplicate key {key.value}", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""^(?:[-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)
        |[-+]?\.[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)?
        |[-+]?\.(?:inf|Inf|INF)
        |\.(?:nan|NaN|NAN))$""",
        re.X,
    ),
    list("-+0123456789."),
)


@dataclass(frozen=True)
class Composed:
    """A config that is not validated yet.

    Attributes:
        plugins: those that the user named himself, beside what the config lists.
    """

    raw: dict[str, Any]
    sources: Sources
    plugins: tuple[str, ...] = ()

    def with_plugins(self, named: Sequence[str]) -> Composed:
        """The same with plugins that the user named, which the model then lists."""
        inside = self.raw.get("model")
        model = inside if isinstance(inside, dict) else self.raw
        listed = model.get("plugins") or []
        if named and "layers" in model and isinstance(listed, list):
            model["plugins"] = [*listed, *(plugin for plugin in named if plugin not in listed)]
        return replace(self, plugins=(*self.plugins, *named))

    def parse(self, cls: type[S], check: Callable[[S], Any] | None = None) -> S:
        """The config as a spec.

        Args:
            cls: type of the whole config.
            check: what else must go well, such as the type check of the model.

        Raises:
            SpecError: the mistake that stands first, with its source.
        """
        try:
            spec = validate(cls, self.raw, plugins=self.plugins)
            if check is not None:
                check(spec)
        except SpecErrors as errors:
            first = min(map(self._hinted, errors.errors), key=self.sources.order)
            raise self.sources.place(first) from None
        except SpecError as error:
            raise self.sources.place(error) from None
        return spec

    def _hinted(self, error: SpecError) -> SpecError:
        """An unknown key may be one of a group, ``path`` for ``data.path``, or have its name from another code."""
        if not (error.at_key and error.problem == "unknown key"):
            return error
        name, hint = str(error.path[-1]), error.hint or ""
        inside = [f"{group}.{name}" for group, value in self.raw.items() if isinstance(value, dict) and name in value]
        known = None if f"{name.lower()}?" in hint.lower() else ours(name)
        if known is not None and "model" not in self.raw:  # a model file
            known = known.removeprefix("model.") if known.startswith("model.") else None
        if len(error.path) == 1 and inside:
            hint = f"did you mean {' or '.join(inside)}?"
        elif known is not None:
            hint = f"did you mean {known}?"
        return SpecError(error.path, error.problem, hint, at_key=True)


def read_yaml(file: str | Path) -> Composed:
    """A single YAML file as a config.

    Raises:
        UserError: the file cannot be read, or is no YAML mapping.
    """
    path = Path(file)
    try:
        text = read_text(path)
    except OSError as error:
        hint = "a model file is needed, or overrides such as model=nequip"
        raise UserError(f"{path}\n  {error.strerror or 'cannot be read'}\n  {hint}") from None
    sources = Sources()
    try:
        raw = yaml.load(text, Loader=_Loader)
        sources.add_file(path, text=text)
    except yaml.YAMLError as error:
        raise yaml_error(error, path) from None
    if not raw or not isinstance(raw, dict):
        given = "" if raw else ", the file is empty"
        raise UserError(f"{path}\n  a mapping is required at its top level{given}")
    return Composed(resolved(raw, sources) if "${" in text else raw, sources)


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        UserError: it is not UTF-8; names the place of the first byte that is not.
    """
    content = read_regular(path)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].rpartition(b"\n")
        line, column = content.count(b"\n", 0, error.start) + 1, len(before[2].decode()) + 1
        byte = f"0x{content[error.start]:02x}"
        raise UserError(f"{path}:{line}:{column}\n  this is not UTF-8: byte {byte}\n  save the file as UTF-8") from None


def yaml_error(error: yaml.YAMLError, file: Path | None) -> UserError:
    """PyYAML's complaint with the place in its file."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    name = str(file or (mark.name if mark else "a config"))
    place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    return UserError(f"{place}\n  this is not YAML: {problem}")


def resolved(config: Any, sources: Sources) -> dict[str, Any]:
    """A raw mapping, or OmegaConf's, as plain Python with its ``${...}`` filled in.

    Raises:
        SpecError: one that leads nowhere, at the place where it was written.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        raw = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
    except OmegaConfBaseException as error:
        parts = re.findall(r"[^.\[\]]+", error.full_key or "")
        path = tuple(int(part) if part.isdigit() else part for part in parts)
        problem = (error.msg or str(error)).splitlines()[0]
        raise sources.place(SpecError(path, f"it cannot be filled in: {problem}")) from None
    assert isinstance(raw, dict)
    return raw

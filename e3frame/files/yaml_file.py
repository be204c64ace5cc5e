"""A config before it is validated: a raw mapping, with the place where each of its values was written."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, cast

from e3frame.files.interpolation import reason, require_fillable
from e3frame.files.sources import Sources, shown_path
from e3frame.files.yaml_text import load, read_text
from e3frame.spec.base import Spec
from e3frame.spec.errors import PathKey, SpecError, UserError
from e3frame.spec.foreign import ours
from e3frame.spec.limits import DEPTH, TEXT, VALUES
from e3frame.spec.validate import SpecErrors, validate

S = TypeVar("S", bound=Spec)
T = TypeVar("T", bound="Typed")


class Typed(Protocol):
    """A dataclass that is the result of a type check."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def warnings(self) -> tuple[SpecError, ...]: ...


@dataclass(frozen=True)
class Composed:
    """A config before it is validated.

    Attributes:
        raw: its values.
        sources: where each of them was written.
        plugins: plugins that the user named, besides those that the config lists.
    """

    raw: dict[str, Any]
    sources: Sources
    plugins: tuple[str, ...] = ()

    def with_plugins(self, named: Sequence[str]) -> Composed:
        """The same with plugins that the user named, which the run or the model then lists."""
        listed = self.raw.get("plugins") or []
        if named and self.raw.keys() & {"model", "layers"} and isinstance(listed, list):
            self.raw["plugins"] = [*listed, *(plugin for plugin in named if plugin not in listed)]
        return replace(self, plugins=(*self.plugins, *named))

    def parse(self, cls: type[S], check: Callable[[S], Any] | None = None) -> S:
        """The config as a spec.

        Args:
            cls: type of the whole config.
            check: a further check that raises SpecError, such as the type check of the model.

        Raises:
            SpecError: the first mistake in the file, with its source.
        """
        try:
            _require_bounded(self.raw)
            spec = validate(cls, self.raw, plugins=self.plugins)
            if check is not None:
                check(spec)
        except SpecErrors as errors:
            first = min(map(self._hinted, errors.errors), key=self.sources.order)
            raise self.sources.place(first) from None
        except SpecError as error:
            raise self.sources.place(error) from None
        return spec

    def typed(self, cls: type[S], check: Callable[[S], T]) -> T:
        """Return the result of the check of :meth:`parse`, with the places of its warnings."""
        found: list[T] = []
        self.parse(cls, lambda spec: found.append(check(spec)))
        return replace(found[0], warnings=tuple(map(self.sources.place, found[0].warnings)))

    def _hinted(self, error: SpecError) -> SpecError:
        """A better hint for an unknown key that is a key of a group (``path`` for ``data.path``) or of another code."""
        if not (error.at_key and error.problem == "unknown key"):
            return error
        name, hint = str(error.path[-1]), error.hint or ""
        inside = [f"{group}.{name}" for group, value in self.raw.items() if isinstance(value, dict) and name in value]
        known = None if f"{name.lower()}?" in hint.lower() else ours(name)
        if known is not None and "model" not in self.raw:
            is_model = "layers" in self.raw and known.startswith("model.")
            known = known.removeprefix("model.") if is_model else None
        if len(error.path) == 1 and inside:
            hint = f"did you mean {' or '.join(inside)}?"
        elif known is not None:
            hint = f"did you mean {known}?"
        return SpecError(error.path, error.problem, hint, at_key=True)


def read_yaml(file: str | Path) -> Composed:
    """Read a YAML file.

    Raises:
        UserError: the file cannot be read, or is not a YAML mapping.
    """
    path = Path(file)
    name = shown_path(path)
    try:
        text = read_text(path, name)
    except OSError as error:
        hint = "give the path of a model file, or overrides such as model=nequip"
        raise UserError(f"{path}\n  {error.strerror or 'cannot be read'}\n  {hint}") from None
    return parse_yaml(text, path)


def parse_yaml(text: str, file: str | Path) -> Composed:
    """Parse the text of a YAML file; ``file`` is its name in messages.

    Raises:
        UserError: the text is not a YAML mapping.
    """
    path = Path(file)
    name = shown_path(path)
    sources = Sources()
    raw = load(text, name)
    sources.add_file(path, text=text)
    if not raw or not isinstance(raw, dict):
        given = "" if raw else "; the file is empty"
        raise UserError(f"{name}\n  a mapping is required at the top level{given}")
    return Composed(resolved(raw, sources) if "${" in text else raw, sources)


def resolved(config: Any, sources: Sources) -> dict[str, Any]:
    """A raw mapping, or OmegaConf's, as plain Python values with its ``${...}`` filled in.

    Raises:
        SpecError: a ``${...}`` cannot be filled in, with its place.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        config = OmegaConf.create(config)
        require_fillable(OmegaConf.to_container(config))
        raw = OmegaConf.to_container(config, resolve=True)
    except SpecError as error:
        raise sources.place(error) from None
    except OmegaConfBaseException as error:
        parts = re.findall(r"[^.\[\]]+", error.full_key or "")
        path = tuple(int(part) if part.isdigit() else part for part in parts)
        raise sources.place(SpecError(path, reason(error))) from None
    return cast(dict[str, Any], raw)  # a config is a mapping, and its keys are texts


def _require_bounded(raw: Any, path: PathKey = ()) -> None:
    """Raise SpecError for values beyond a limit, which come from the command line or from ``${...}``."""
    if len(path) > DEPTH:
        raise SpecError(path[:3], f"at most {DEPTH} mappings and lists may be nested")
    if isinstance(raw, int) and abs(raw) >= 2**63:
        raise SpecError(path, "an integer has at most 64 bits")
    if isinstance(raw, str) and len(raw) > TEXT:
        raise SpecError(path, f"a text has at most {TEXT:,} characters, got {len(raw):,}")
    if isinstance(raw, dict | list):
        if len(raw) > VALUES:
            raise SpecError(path, f"a config has at most {VALUES:,} values")
        for key, value in raw.items() if isinstance(raw, dict) else enumerate(raw):
            _require_bounded(value, (*path, key))

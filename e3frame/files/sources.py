"""Where in which file, or in which command-line override, each value of a config was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from e3frame.files.reading import BASE, read_text
from e3frame.files.yaml_traps import misread, word_for
from e3frame.spec.errors import PathKey, SpecError, dotted


@dataclass(frozen=True)
class Place:
    """Lines and columns count from 1; ``file`` is None for a value from the command line."""

    text: str
    line: int = 0
    column: int = 0
    key_line: int = 0
    key_column: int = 0
    quoted: bool = False
    written: str | None = None
    """The text of a value without quotes, which YAML or Hydra may read as a number or a switch."""

    def shown(self, offset: int | None, at_key: bool) -> str:
        if not self.line:
            return self.text
        if at_key and self.key_line:
            return f"{self.text}:{self.key_line}:{self.key_column}"
        return f"{self.text}:{self.line}:{self.column + (0 if offset is None else offset + self.quoted)}"

    def quoting(self, error: SpecError) -> str | None:
        """The hint of an error whose cause may be how YAML reads a text without quotes."""
        if not self.line and error.hint is None and error.problem == "a text is required, got null":
            return f"to remove the key: ~{dotted(error.path)}"
        if self.written is None:
            return error.hint
        quoted = f"'{self.written}'"
        if not self.line:  # the shell takes one pair of quotes away
            quoted = f'"{dotted(error.path)}={quoted}"'
        word = word_for(self.written) if self.line else None
        if word is not None:
            return f"YAML reads {self.written} as {word}; quote it: {quoted}"
        return f"quote it: {quoted}" if error.problem.startswith("a text is required") else error.hint


@dataclass
class Sources:
    """Places by config path; what is added later overrides what was there, as in the merge of the config itself."""

    places: dict[PathKey, Place] = field(default_factory=dict)

    def add_file(self, file: str | Path, package: PathKey = (), text: str | None = None) -> bool:
        """Every key and value of a YAML file whose contents stand at ``package``; False if it is empty."""
        path = Path(file)
        text = read_text(path, shown_path(path)) if text is None else text
        node = yaml.compose(text, Loader=BASE)
        if node is not None:
            self._add_node(node, package, None, shown_path(path))
        return node is not None

    def add_override(self, path: PathKey, override: str, value: object = None, whole: bool = True) -> None:
        """A ``key=value`` of the command line; a mapping is merged, so it covers just the keys it names."""
        single = whole and not isinstance(value, str | Mapping | list | None)
        written = override.partition("=")[2] if single else None
        self.places[path] = Place(f"command-line override {override}", written=written)
        children = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
        for key, child in children:
            self.add_override((*path, key), override, child, whole=False)

    def place(self, error: SpecError) -> SpecError:
        """The error with its source: that of its path, or of the nearest key above that was written anywhere."""
        if error.source is not None:
            return error
        for depth in range(len(error.path), -1, -1):
            place = self.places.get(error.path[:depth])
            if place is not None:
                exact = depth == len(error.path)
                source = place.shown(error.offset if exact else None, error.at_key and exact)
                hint = place.quoting(error) if exact and not error.at_key else error.hint
                return SpecError(error.path, error.problem, hint, source=source)
        return error

    def order(self, error: SpecError) -> tuple[int, int]:
        """Sort key: the mistake that stands first in its file comes first."""
        for depth in range(len(error.path), -1, -1):
            place = self.places.get(error.path[:depth])
            if place is not None:
                return (place.line, place.column)
        return (0, 0)

    def _add_node(self, node: yaml.Node, path: PathKey, key: yaml.Node | None, file: str) -> None:
        mark = node.start_mark
        key_mark = mark if key is None else key.start_mark
        quoted = isinstance(node, yaml.ScalarNode) and node.style in ("'", '"')
        written = node.value if isinstance(node, yaml.ScalarNode) and not node.style else None
        place = Place(file, mark.line + 1, mark.column + 1, key_mark.line + 1, key_mark.column + 1, quoted, written)
        self.places[path] = place
        _require_plain(path, key, place, is_key=True)
        _require_plain(path, node, place)
        if isinstance(node, yaml.MappingNode):
            for child_key, child in node.value:
                self._add_node(child, (*path, child_key.value), child_key, file)
        elif isinstance(node, yaml.SequenceNode):
            for index, child in enumerate(node.value):
                self._add_node(child, (*path, index), None, file)


def shown_path(path: Path) -> str:
    """Relative to the current directory where that is shorter."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _require_plain(path: PathKey, node: yaml.Node | None, place: Place, is_key: bool = False) -> None:
    """Raise SpecError for a key or a value that YAML reads as something else than it looks like."""
    read_as = None if node is None else misread(node, is_key)
    if read_as is not None:
        hint = f"quote it: '{node.value}'" if is_key else f"write that number, or quote the text: '{node.value}'"
        problem = f"YAML reads {node.value} as {read_as}"
        raise SpecError(path, problem, hint, source=place.shown(None, is_key))

"""The place of each value of a config: a line and column of a file, or an override of the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from e3frame.files.yaml_text import BASE, read_text
from e3frame.spec.errors import PathKey, SpecError, dotted

_OCTAL = re.compile(r"[-+]?0[0-7_]*[0-9_]+")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Place:
    """Where one value was written.

    Attributes:
        text: the file, or ``command-line override key=value``.
        line, column: of the value, counted from 1; 0 for an override.
        key_line, key_column: of its key.
        quoted: whether the value is in quotes.
        written: a value without quotes as it was written; YAML or Hydra may read it as a number or a switch.
    """

    text: str
    line: int = 0
    column: int = 0
    key_line: int = 0
    key_column: int = 0
    quoted: bool = False
    written: str | None = None

    def shown(self, offset: int | None, at_key: bool) -> str:
        """The place as messages show it, ``offset`` characters into the value, or at its key."""
        if not self.line:
            return self.text
        if at_key and self.key_line:
            return f"{self.text}:{self.key_line}:{self.key_column}"
        return f"{self.text}:{self.line}:{self.column + (0 if offset is None else offset + self.quoted)}"

    def quoting(self, error: SpecError) -> str | None:
        """The hint of an error, or that quotes are missing if YAML read a text as something else."""
        if not self.line and error.hint is None and error.problem == "a text is required, got null":
            return f"to remove the key: ~{dotted(error.path)}"
        if self.written is None:
            return error.hint
        quoted = f"'{self.written}'"
        if not self.line:  # the shell removes one pair of quotes
            quoted = f'"{dotted(error.path)}={quoted}"'
        word = word_for(self.written) if self.line else None
        if word is not None:
            return f"YAML reads {self.written} as {word}; quote it: {quoted}"
        return f"quote it: {quoted}" if error.problem.startswith("a text is required") else error.hint


@dataclass
class Sources:
    """Places by config path. What is added later replaces what was there, as when the config itself is merged."""

    places: dict[PathKey, Place] = field(default_factory=dict)

    def add_file(self, file: str | Path, package: PathKey = (), text: str | None = None) -> bool:
        """Add every key and value of a YAML file whose contents go to ``package``; False if the file is empty."""
        path = Path(file)
        text = read_text(path, shown_path(path)) if text is None else text
        node = yaml.compose(text, Loader=BASE)
        if node is not None:
            self._add_node(node, package, None, shown_path(path))
        return node is not None

    def add_override(self, path: PathKey, override: str, value: object = None, whole: bool = True) -> None:
        """Add a ``key=value`` of the command line. A mapping is merged, so it covers only the keys that it names."""
        single = whole and not isinstance(value, str | Mapping | list | None)
        written = override.partition("=")[2] if single else None
        self.places[path] = Place(f"command-line override {override}", written=written)
        children = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
        for key, child in children:
            self.add_override((*path, key), override, child, whole=False)

    def place(self, error: SpecError) -> SpecError:
        """The error with its source: the place of its path, or of the nearest key above it that has a place."""
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
        """Sort key of errors: by line and column."""
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
    """The path relative to the current folder if it is inside, else the path as given."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _require_plain(path: PathKey, node: yaml.Node | None, place: Place, is_key: bool = False) -> None:
    """Raise SpecError for a key or a value that YAML does not read as it looks."""
    read_as = misread(node, is_key) if isinstance(node, yaml.ScalarNode) else None
    if isinstance(node, yaml.ScalarNode) and read_as is not None:
        hint = f"quote it: '{node.value}'" if is_key else f"write that number, or quote the text: '{node.value}'"
        problem = f"YAML reads {node.value} as {read_as}"
        raise SpecError(path, problem, hint, source=place.shown(None, is_key))


def misread(node: yaml.ScalarNode, is_key: bool = False) -> str | None:
    """How YAML 1.1 reads a plain scalar that looks like something else, or None.

    ``010`` is the number 8, and ``1:30`` the number 90. ``No`` is false, which is fine for a switch, but not for a key
    such as nobelium's.
    """
    if node.style:
        return None
    text = node.value
    if node.tag in (f"{_TAG}int", f"{_TAG}float"):
        if _BASE_60.fullmatch(text):
            return f"the number {_sexagesimal(text):g}"
        if node.tag == f"{_TAG}int" and _OCTAL.fullmatch(text):
            return f"the number {int(text.replace('_', ''), 8)}"
    return word_for(text) if is_key else None


def word_for(text: str) -> str | None:
    """``true`` or ``false`` for yes, no, on and off, which YAML 1.1 reads so; None for other texts."""
    return _WORDS.get(text.lower())


def _sexagesimal(text: str) -> float:
    sign = -1 if text[0] == "-" else 1
    value = 0.0
    for part in text.lstrip("+-").replace("_", "").split(":"):
        value = 60 * value + float(part)
    return sign * value

"""YAML text within limits: no file, however it was made, takes much time or memory, or more than one message."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

from e3frame.files.regular import open_regular
from e3frame.spec.errors import UserError
from e3frame.spec.limits import BYTES, DEPTH, TEXT, VALUES

BASE: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STRANGE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_BYTE_ORDER = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_TEXT_TAGS = (None, "!", "tag:yaml.org,2002:str")
_LARGEST = 2**63


class Loader(BASE):  # type: ignore[misc]
    """YAML as OmegaConf, and with it Hydra, reads it: ``1e-3`` is a number, a date is text, no key stands twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith((":timestamp", ":float"))]
        for first, resolvers in BASE.yaml_implicit_resolvers.items()
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

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """An integer of at most 64 bits, or a float."""
        number = "integer" if node.tag.endswith(":int") else "number"
        try:
            value = self.construct_yaml_int(node) if number == "integer" else self.construct_yaml_float(node)
        except (ValueError, OverflowError):
            raise yaml.constructor.ConstructorError(None, None, f"this is no {number}", node.start_mark) from None
        if number == "integer" and abs(value) >= _LARGEST:
            raise yaml.constructor.ConstructorError(None, None, "an integer has at most 64 bits", node.start_mark)
        return value


Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_number)
Loader.add_constructor("tag:yaml.org,2002:float", Loader.construct_number)
Loader.add_implicit_resolver(
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


def read_text(path: Path, shown: str | None = None) -> str:
    """The text of a YAML file, within the limits that hold for all of them.

    Args:
        shown: the file in messages.

    Raises:
        OSError: it cannot be read, or is not a file.
        UserError: it is not UTF-8, too long, or too much once its aliases are filled in; names the place.
    """
    name = shown or str(path)
    with open_regular(path) as file:
        content = file.read(BYTES + 1)
    if len(content) > BYTES:
        raise UserError(f"{name}\n  a config has at most {BYTES:,} bytes, this file is larger")
    coding = _BYTE_ORDER.get(content[:2])
    if coding is not None:
        raise UserError(f"{name}:1:1\n  this is {coding}, not UTF-8\n  save the file as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].rpartition(b"\n")
        line, column = content.count(b"\n", 0, error.start) + 1, len(before[2].decode("utf-8-sig")) + 1
        byte = f"0x{content[error.start]:02x}"
        raise UserError(f"{name}:{line}:{column}\n  this is not UTF-8: byte {byte}\n  save the file as UTF-8") from None
    require_bounded(text, name)
    return text


def require_bounded(text: str, name: str) -> None:
    """Raise UserError, with its place, for what YAML text must not hold."""
    strange = _STRANGE.search(text)
    if strange is not None:
        before = text[: strange.start()]
        place = f"{name}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
        raise UserError(f"{place}\n  this is not YAML: the character U+{ord(strange[0]):04X} cannot be in it")
    _Bounds(name).check(yaml.parse(text, Loader=BASE))


class _Bounds:
    """Counts what the events of a YAML parser would make, before anything is made of them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.open: list[_Open] = []
        self.sizes: dict[str, int] = {}
        self.total = 0

    def check(self, events: Iterator[yaml.Event]) -> None:
        documents = 0
        try:
            for event in events:
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        self._refuse(event, "a config is one document, and here a second one begins")
                elif isinstance(event, yaml.CollectionStartEvent):
                    self._begin(event)
                elif isinstance(event, yaml.CollectionEndEvent):
                    self._end()
                elif isinstance(event, yaml.AliasEvent):
                    self._alias(event)
                elif isinstance(event, yaml.ScalarEvent):
                    self._scalar(event)
        except yaml.YAMLError as error:
            raise yaml_error(error, self.name) from None

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        if event.tag is not None and not event.implicit:
            self._refuse(event, f"a config has no tags, got {event.tag}", "remove it: what a value is follows from it")
        if self._at_key():
            self._refuse(event, "a key must be a text, this is a list or a mapping")
        if len(self.open) >= DEPTH:
            self._refuse(event, f"at most {DEPTH} mappings and lists may be within each other")
        self._count(event, 1)
        self.open.append(_Open(event.anchor, isinstance(event, yaml.MappingStartEvent), self.total - 1))

    def _end(self) -> None:
        closed = self.open.pop()
        if closed.anchor:
            self.sizes[closed.anchor] = self.total - closed.before

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if event.tag not in _TEXT_TAGS and not any(event.implicit):
            self._refuse(event, f"a config has no tags, got {event.tag}", "remove it: what a value is follows from it")
        if len(event.value) > TEXT:
            self._refuse(event, f"a text has at most {TEXT:,} characters, this one has {len(event.value):,}")
        if self._at_key() and not event.style and event.value in ("", "~", "null", "Null", "NULL"):
            self._refuse(event, "there is no key before the ':'")
        self._count(event, 1)
        if event.anchor:
            self.sizes[event.anchor] = 1

    def _alias(self, event: yaml.AliasEvent) -> None:
        if any(collection.anchor == event.anchor for collection in self.open):
            self._refuse(event, f"*{event.anchor} is inside of &{event.anchor}, which would then contain itself")
        if self._at_key():
            self._refuse(event, "a key must be a text, this is an alias")
        self._count(event, self.sizes.get(event.anchor, 1))

    def _at_key(self) -> bool:
        return bool(self.open) and self.open[-1].mapping and self.open[-1].children % 2 == 0

    def _count(self, event: yaml.Event, size: int) -> None:
        self.total += size
        if self.open:
            self.open[-1].children += 1
        if self.total > VALUES:
            self._refuse(event, f"a config has at most {VALUES:,} values, aliases counted as often as they are used")

    def _refuse(self, event: yaml.Event, problem: str, hint: str | None = None) -> None:
        mark = event.start_mark
        place = f"{self.name}:{mark.line + 1}:{mark.column + 1}"
        raise UserError("\n  ".join(filter(None, [place, problem, hint])))


class _Open:
    """A mapping or list that is not closed yet; ``before`` are the values before it."""

    def __init__(self, anchor: str | None, mapping: bool, before: int) -> None:
        self.anchor, self.mapping, self.before, self.children = anchor, mapping, before, 0


def load(text: str, name: str) -> Any:
    """The values of a text that :func:`read_text` gave.

    Raises:
        UserError: it is no YAML, with the place.
    """
    try:
        return yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise yaml_error(error, name) from None


def yaml_error(error: yaml.YAMLError, file: str | Path | None) -> UserError:
    """PyYAML's complaint with the place in its file."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    name = str(file or (mark.name if mark else "a config"))
    place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    return UserError(f"{place}\n  this is not YAML: {problem}")

"""YAML text within limits, so that no file takes much time or memory, and every mistake is one message."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml

from e3frame.files.regular import open_regular
from e3frame.spec.errors import UserError
from e3frame.spec.limits import BYTES, DEPTH, TEXT, VALUES

BASE: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STRANGE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_BYTE_ORDER = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_TEXT_TAGS = (None, "!", "tag:yaml.org,2002:str")
_LARGEST = 2**63


class Loader(BASE):  # type: ignore[misc, valid-type]  # the fast loader where there is one
    """YAML as Hydra and OmegaConf read it: ``1e-3`` is a number, a date is text, and no key may be repeated."""

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
                raise _not_valid(f"the key {key.value} is repeated", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """An integer of at most 64 bits, or a float."""
        number = "integer" if node.tag.endswith(":int") else "number"
        try:
            value = self.construct_yaml_int(node) if number == "integer" else self.construct_yaml_float(node)
        except (ValueError, OverflowError):
            raise _not_valid(f"this is not a valid {number}", node) from None
        if number == "integer" and abs(value) >= _LARGEST:
            raise _not_valid("an integer has at most 64 bits", node)
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


def _not_valid(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def read_text(path: Path, shown: str | None = None) -> str:
    """The text of a YAML file.

    Args:
        shown: name of the file in messages.

    Raises:
        OSError: it cannot be read, or is not a file.
        UserError: it is not UTF-8, is beyond a limit, or is no YAML, with the place.
    """
    name = shown or str(path)
    with open_regular(path) as file:
        content = file.read(BYTES + 1)
    if len(content) > BYTES:
        raise UserError(f"{name}\n  the file is too large: a config has at most {BYTES:,} bytes")
    coding = _BYTE_ORDER.get(content[:2])
    if coding is not None:
        raise UserError(f"{name}:1:1\n  the file is {coding}, not UTF-8\n  save the file as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].rpartition(b"\n")
        line, column = content.count(b"\n", 0, error.start) + 1, len(before[2].decode("utf-8-sig")) + 1
        byte = f"0x{content[error.start]:02x}"
        raise UserError(
            f"{name}:{line}:{column}\n  the file is not UTF-8: byte {byte}\n  save the file as UTF-8"
        ) from None
    require_bounded(text, name)
    return text


def require_bounded(text: str, name: str) -> None:
    """Raise UserError, with the place, for a character or a structure that a config must not have."""
    strange = _STRANGE.search(text)
    if strange is not None:
        before = text[: strange.start()]
        place = f"{name}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
        raise UserError(f"{place}\n  the character U+{ord(strange[0]):04X} is not allowed in YAML")
    _Bounds(name).check(yaml.parse(text, Loader=BASE))


class _Bounds:
    """Counts the values of a YAML text from the events of its parser, before any value is made."""

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
                        self._refuse(event, "a second document begins here: a config is one document")
                elif isinstance(event, yaml.CollectionStartEvent):
                    self._begin(event)
                elif isinstance(event, yaml.CollectionEndEvent):
                    self._end()
                elif isinstance(event, yaml.AliasEvent):
                    self._alias(event)
                elif isinstance(event, yaml.ScalarEvent):
                    self._scalar(event)
        except yaml.YAMLError as error:
            raise _error(error, self.name) from None

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        if event.tag is not None and not event.implicit:
            self._refuse(event, f"tags are not allowed, got {event.tag}", "remove the tag")
        if self._at_key():
            self._refuse(event, "a key must be a text, got a list or a mapping")
        if len(self.open) >= DEPTH:
            self._refuse(event, f"at most {DEPTH} mappings and lists may be nested")
        self._count(event, 1)
        self.open.append(_Open(event.anchor, isinstance(event, yaml.MappingStartEvent), self.total - 1))

    def _end(self) -> None:
        closed = self.open.pop()
        if closed.anchor:
            self.sizes[closed.anchor] = self.total - closed.before

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if event.tag not in _TEXT_TAGS and not any(event.implicit):
            self._refuse(event, f"tags are not allowed, got {event.tag}", "remove the tag")
        if len(event.value) > TEXT:
            self._refuse(event, f"a text has at most {TEXT:,} characters, got {len(event.value):,}")
        if self._at_key() and not event.style and event.value in ("", "~", "null", "Null", "NULL"):
            self._refuse(event, "a key is missing before the ':'")
        self._count(event, 1)
        if event.anchor:
            self.sizes[event.anchor] = 1

    def _alias(self, event: yaml.AliasEvent) -> None:
        if any(collection.anchor == event.anchor for collection in self.open):
            self._refuse(event, f"*{event.anchor} is inside &{event.anchor}, which would contain itself")
        if self._at_key():
            self._refuse(event, "a key must be a text, got an alias")
        self._count(event, self.sizes.get(event.anchor or "", 1))

    def _at_key(self) -> bool:
        return bool(self.open) and self.open[-1].mapping and self.open[-1].children % 2 == 0

    def _count(self, event: yaml.Event, size: int) -> None:
        self.total += size
        if self.open:
            self.open[-1].children += 1
        if self.total > VALUES:
            self._refuse(event, f"a config has at most {VALUES:,} values; each use of an alias counts")

    def _refuse(self, event: yaml.Event, problem: str, hint: str | None = None) -> NoReturn:
        place = _place(self.name, event.start_mark)
        raise UserError("\n  ".join(filter(None, [place, problem, hint])))


class _Open:
    """A mapping or list that is not closed yet; ``before`` is the number of values before it."""

    def __init__(self, anchor: str | None, mapping: bool, before: int) -> None:
        self.anchor, self.mapping, self.before, self.children = anchor, mapping, before, 0


def load(text: str, name: str) -> Any:
    """The values of a text that :func:`read_text` gave.

    Raises:
        UserError: it is not YAML, with the place.
    """
    try:
        return yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise _error(error, name) from None


def _error(error: yaml.YAMLError, name: str) -> UserError:
    """The message for an error of PyYAML."""
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return UserError(f"{_place(name, getattr(error, 'problem_mark', None))}\n  this is not YAML: {problem}")


def _place(name: str, mark: Any) -> str:
    """A file with the line and column of PyYAML's mark, if there is one."""
    return f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name

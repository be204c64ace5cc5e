"""``${...}`` in a config: which are allowed, so that filling them in takes little time and memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from e3frame.spec.errors import PathKey, SpecError
from e3frame.spec.limits import BYTES, CHAIN, FILLED, VALUES

if TYPE_CHECKING:
    from omegaconf.errors import OmegaConfBaseException

_ONE = re.compile(r"(?<!\\)(?:\\\\)*\$\{([^${}]*)\}")
_ANY = re.compile(r"(?<!\\)(?:\\\\)*\$\{")
_RESOLVER = re.compile(r"\s*oc\.env:\s*\w+\s*(?:,[^\[\]]*)?")
_KEYS = re.compile(r"\s*(\.*)([^.\[\]:\s]+(?:(?:\.|\[)[^.\[\]:\s]+\]?)*)\s*")
_REASONS = {
    r"Interpolation key '(.*)' not found": "${{...}} refers to '{0}', which does not exist",
    r"Environment variable '(.*)' not found": "the environment variable {0} is not set",
    r"Missing mandatory value: (\S+)": "${{...}} refers to '{0}', which has no value",
}
"""Messages of OmegaConf, and what they say to the user."""
_HINT = "write ${key.of.a.value} or ${oc.env:VARIABLE}"


def require_fillable(raw: Any) -> None:
    """Raise SpecError for a ``${...}`` that is not allowed, refers to itself, or makes the config too large."""
    if not any("${" in text for _, text in _texts(raw, ())):
        return
    measure = _Measure(raw)
    total = _Size()
    for path, text in _texts(raw, ()):
        total += measure.size(path, text, ())
        total.require_allowed(path)


@dataclass(frozen=True)
class _Size:
    """Size of texts after their ``${...}`` are filled in: characters, values, and the number of fillings."""

    characters: int = 0
    values: int = 0
    filled: int = 0

    def __add__(self, other: _Size) -> _Size:
        return _Size(self.characters + other.characters, self.values + other.values, self.filled + other.filled)

    def require_allowed(self, path: PathKey) -> None:
        if self.characters > BYTES or self.values > VALUES:
            raise SpecError(path, "the config is too large once its ${...} are filled in")
        if self.filled > FILLED:
            raise SpecError(path, f"more than {FILLED:,} ${{...}} are to be filled in")


class _Measure:
    """Sizes of texts once their ``${...}`` are filled in."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self._known: dict[PathKey, _Size] = {}

    def size(self, path: PathKey, text: str, chain: tuple[PathKey, ...]) -> _Size:
        if path not in self._known:
            found = list(_ONE.finditer(text))
            if len(found) < len(_ANY.findall(text)):
                raise SpecError(path, f"this ${{...}} is not allowed: {text}", _HINT)
            size = _Size(len(text), 1, len(found))
            for match in found:
                size += self._referred(path, match[1], chain)
            self._known[path] = size
        return self._known[path]

    def _referred(self, path: PathKey, inside: str, chain: tuple[PathKey, ...]) -> _Size:
        if _RESOLVER.fullmatch(inside):
            return _Size(1_000)
        keys = _KEYS.fullmatch(inside)
        if keys is None:
            raise SpecError(path, f"this ${{...}} is not allowed: ${{{inside}}}", _HINT)
        target = self._target(path, keys[1], re.findall(r"[^.\[\]]+", keys[2]))
        if target is None:
            return _Size()  # no such key: an error when it is filled in
        if any(target == known[: len(target)] for known in (*chain, path)):
            raise SpecError(path, f"${{{inside}}} refers to itself")
        if len(chain) >= CHAIN:
            raise SpecError(path, f"more than {CHAIN} ${{...}} refer from one to the next")
        size = _Size()
        for place, text in _texts(_at(self.raw, target), target):
            size += self.size(place, text, (*chain, path))
            size.require_allowed(path)
        return size

    def _target(self, path: PathKey, dots: str, keys: list[str]) -> PathKey | None:
        base = path[: len(path) - len(dots)] if dots else ()
        node, found = _at(self.raw, base), list(base)
        for key in keys:
            if isinstance(node, Mapping):
                name = next((own for own in node if str(own) == key), None)
                if name is None:
                    return None
                node = node[name]
                found.append(name)
            elif isinstance(node, list) and key.isdecimal() and int(key) < len(node):
                node = node[int(key)]
                found.append(int(key))
            else:
                return None
        return tuple(found)


def _at(raw: Any, path: PathKey) -> Any:
    for key in path:
        raw = raw[key]
    return raw


def _texts(raw: Any, path: PathKey) -> Iterator[tuple[PathKey, str]]:
    """All values as texts, with their paths; keys are left out."""
    if isinstance(raw, Mapping):
        for key, value in raw.items():
            yield from _texts(value, (*path, key))
    elif isinstance(raw, list):
        for index, value in enumerate(raw):
            yield from _texts(value, (*path, index))
    else:
        yield path, raw if isinstance(raw, str) else ""


def reason(error: OmegaConfBaseException) -> str:
    """Why OmegaConf could not fill in a ``${...}``, in plain words."""
    text = str(error.msg or error).splitlines()[0]
    for pattern, plain in _REASONS.items():
        found = re.search(pattern, text)
        if found is not None:
            return plain.format(*found.groups())
    return "this ${...} cannot be filled in"

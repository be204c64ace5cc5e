"""State dicts of a file, read by name; what was read is noted, so that nothing is overlooked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from e3frame.convert.archive import Archive
from e3frame.convert.modules import NotUnderstood, plain
from e3frame.convert.records import Stored
from e3frame.spec.words import printable


class State:
    """Tensors by name.

    Args:
        archive: the file.
        held: its tensors; what is not a tensor is left out.
        follows: ends of the names of tensors that follow from others, which need not be read.
    """

    def __init__(self, archive: Archive, held: Mapping[str, Any], follows: tuple[str, ...] = ()) -> None:
        self.archive, self.follows = archive, follows
        self.held = {name: each for name, each in held.items() if isinstance(each, Stored)}
        self.read: set[str] = set()

    def tensor(self, name: str, *shape: int) -> Tensor:
        """One of the tensors, which counts as read.

        Args:
            shape: what its shape must be; nothing: any shape.

        Raises:
            NotUnderstood: there is none of this name and shape.
        """
        if name not in self.held:
            raise NotUnderstood(f"{printable(name, 100)}: this tensor is missing")
        found = self.held[name]
        if shape and found.shape != shape:
            raise NotUnderstood(f"{printable(name, 100)}: its shape must be {list(shape)}, got {list(found.shape)}")
        self.read.add(name)
        return self.archive.tensor(found)

    @property
    def dtype(self) -> str:
        """The widest type of floating-point numbers among them."""
        return "float64" if any(each.dtype == "float64" for each in self.held.values()) else "float32"

    def unread(self) -> list[str]:
        """Names of tensors with at least one number that nothing has read and that do not follow from others."""
        left = ((name, each) for name, each in self.held.items() if name not in self.read)
        return [name for name, each in left if 0 not in each.shape and not name.endswith(self.follows)]


class Settings:
    """Values of a config, each of which must be one that is known."""

    def __init__(self, values: Mapping[Any, Any], place: str) -> None:
        self.values, self.place = values, place

    def require(self, key: str, *known: Any, default: Any = None) -> Any:
        """Return a value that is one of ``known``.

        Raises:
            NotUnderstood: it is another.
        """
        found = self.values.get(key, default)
        if not any(type(found) is type(one) and found == one for one in known):
            raise self.error(key, f"{plain(found)} is not known here, only {' and '.join(map(plain, known))}")
        return found

    def number(self, key: str) -> float:
        """Return a number."""
        found = self.values.get(key)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise self.error(key, f"a number is required, got {plain(found)}")
        return float(found)

    def texts(self, key: str) -> list[str]:
        """Return a list of texts."""
        found = self.values.get(key)
        if not isinstance(found, list | tuple) or not all(isinstance(each, str) for each in found):
            raise self.error(key, f"a list of texts is required, got {plain(found)}")
        return list(found)

    def inner(self, key: str) -> Settings:
        """Return the settings below a key."""
        found = self.values.get(key)
        if not isinstance(found, dict):
            raise self.error(key, f"a mapping is required, got {plain(found)}")
        return Settings(found, f"{self.place}.{key}")

    def error(self, key: str, problem: str) -> NotUnderstood:
        """The error for one of the values."""
        return NotUnderstood(f"{self.place}.{key}: {problem}")

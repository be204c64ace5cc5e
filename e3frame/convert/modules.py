"""Torch modules of a file, read by name; what was read is noted, so that nothing is overlooked."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from e3frame.algebra.irreps import Irreps
from e3frame.convert.archive import Archive
from e3frame.convert.records import Global, Record, Stored, Unreadable, elements, members, numpy_number, tensors
from e3frame.spec.base import shown
from e3frame.spec.irreps import too_large
from e3frame.spec.words import printable

CHANNELS = 4096
"""Most copies of an irrep; published models have at most some hundreds."""
_REQUIRED = object()


class NotUnderstood(Unreadable):
    """A part of the model that a conversion does not know."""


class Module:
    """A torch module of a file.

    Args:
        archive: the file.
        record: the module as it is there.
        path: its name in the model, such as ``interactions.0``; empty for the model itself.
    """

    def __init__(self, archive: Archive, record: Record, path: str = "", read: set[str] | None = None) -> None:
        self.archive, self.record, self.path = archive, record, path
        self.read: set[str] = set() if read is None else read

    @property
    def kind(self) -> str:
        """Name of its class, without that of the package."""
        return self.record.name.rpartition(".")[2]

    def within(self, name: str) -> str:
        """The full name of one of its members."""
        return f"{self.path}.{name}" if self.path else name

    def error(self, problem: str, name: str = "") -> NotUnderstood:
        """The error for something in this module that is not understood."""
        place = printable(self.within(name) if name else self.path or self.kind, 100)
        return NotUnderstood(f"{place}: {problem}")

    def has(self, name: str) -> bool:
        """Whether it has a module of this name."""
        return any(own == name and isinstance(each, Record) for own, each in members(self.record, "_modules"))

    def module(self, path: str, *kinds: str) -> Module:
        """One of its modules, or a module of these, ``symmetric_contractions.contractions.0``.

        Args:
            kinds: the classes that it may be of.

        Raises:
            NotUnderstood: it has none, or it is of another class.
        """
        found = self
        for name in path.split("."):
            below = dict(members(found.record, "_modules")).get(name)
            if not isinstance(below, Record):
                raise found.error("this module is missing", name)
            found = Module(self.archive, below, found.within(name), self.read)
        if kinds and found.kind not in kinds:
            raise found.error(f"{printable(found.kind, 60)} is not known here, only {' and '.join(kinds)}")
        return found

    def modules(self, path: str) -> list[Module]:
        """The modules of a list."""
        held = self.module(path, "ModuleList")
        return [held.module(name) for name, each in members(held.record, "_modules") if isinstance(each, Record)]

    def tensor(self, name: str, *shape: int) -> Tensor:
        """One of its parameters or buffers, which counts as read.

        Args:
            shape: what its shape must be; -1 stands for any number. Nothing: any shape.
        """
        for kind in ("_parameters", "_buffers"):
            found = dict(members(self.record, kind)).get(name)
            if isinstance(found, Stored):
                self.read.add(self.within(name))
                wanted = tuple(own if n == -1 else n for n, own in zip(shape, found.shape, strict=False))
                if shape and (len(shape) != len(found.shape) or wanted != found.shape):
                    raise self.error(f"its shape must be {list(shape)}, got {list(found.shape)}", name)
                return self.archive.tensor(found)
        raise self.error("this tensor is missing", name)

    def holds(self, name: str) -> bool:
        """Whether it has a parameter or buffer of this name."""
        return any(own == name for kind in ("_parameters", "_buffers") for own, _ in members(self.record, kind))

    def number(self, name: str) -> float:
        """A buffer or an attribute of one number."""
        found = self.tensor(name) if self.holds(name) else self.attribute(name)
        if isinstance(found, Stored):
            found = self.archive.tensor(found)
        if isinstance(found, Record):
            found = numpy_number(found)
        if isinstance(found, Tensor) and found.numel() == 1:
            return float(found)
        if isinstance(found, int | float):
            return float(found)
        raise self.error(f"one number is required, got {plain(found)}", name)

    def attribute(self, name: str, default: Any = _REQUIRED) -> Any:
        """What one of its attributes was set to."""
        found = self.record.attributes.get(name, default)
        if found is _REQUIRED:
            raise self.error("this attribute is missing", name)
        return found

    def has_attribute(self, name: str) -> bool:
        """Whether it has an attribute of this name."""
        return name in self.record.attributes

    def irreps(self, name: str) -> Irreps:
        """An attribute that holds irreps of e3nn."""
        return irreps_of(self.attribute(name), self.within(name))

    def unread(self) -> list[str]:
        """Names of tensors that nothing has read, but for those without numbers and for masks, which follow from the
        irreps."""
        found = ((name, each) for name, each in tensors(self.record) if name not in self.read)
        return [name for name, each in found if 0 not in each.shape and not name.endswith(("output_mask", "_zeroed"))]


def irreps_of(found: Any, place: str) -> Irreps:
    """Irreps of e3nn, which are a tuple of (multiplicity, (l, parity)), or a text."""
    try:
        if isinstance(found, str):
            return Irreps(found)
        pairs = [elements(pair) for pair in elements(found)]
        irreps = Irreps([(int(mul), tuple(int(n) for n in elements(ir))) for mul, ir in pairs])  # type: ignore[misc]
        problem = too_large(irreps)
        if problem is None and any(mul > CHANNELS for mul, _ in irreps):
            problem = f"at most {CHANNELS:,} copies of an irrep are read"
        if problem is not None:
            raise NotUnderstood(f"{printable(place, 100)}: {problem}")
        return irreps
    except (ValueError, TypeError) as error:
        if isinstance(error, NotUnderstood):
            raise
        raise NotUnderstood(f"{printable(place, 100)}: irreps are required, got {plain(found)}") from None


def plain(found: Any) -> str:
    """Describe a value in a message."""
    if isinstance(found, Record | Global):
        return printable(found.name, 60)
    return shown(found) if isinstance(found, str | int | float | bool | None) else type(found).__name__

"""Objects of a pickle as plain data: names, arguments and states. Nothing is imported and nothing is called."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

SIZES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
}
"""Types of the numbers of a tensor, and their bytes."""

DIMENSIONS = 16
"""Most dimensions of a tensor."""


class Unreadable(ValueError):
    """Content that cannot be read; the message says why, and the hint what to do."""

    def __init__(self, problem: str, hint: str | None = None) -> None:
        super().__init__(problem)
        self.hint = hint


@dataclass(frozen=True)
class Global:
    """Name of a class or a function, such as ``torch.nn.functional.silu``."""

    name: str


@dataclass(eq=False)
class Record:
    """An object that is not built.

    Attributes:
        name: its class, or the function whose result it would be.
        args: what the class or the function would be called with.
        state: what its attributes would be set from, usually a mapping.
        items: elements of a list or a set, and pairs of a mapping, that would be added to it.
    """

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Its attributes by name, as far as they are stored as a mapping."""
        for state in (self.state, *self.args[:1]):
            if isinstance(state, dict):
                return state
        return {}


@dataclass(frozen=True)
class Storage:
    """Numbers of a file, without a shape.

    Attributes:
        key: its name in the file.
        dtype: one of SIZES.
        count: how many numbers it holds.
    """

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor of a file: a view of a storage, within its bounds.

    Raises:
        Unreadable: the view would leave its storage, or have more elements than it.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.shape, *self.strides)
        if not all(type(n) is int and 0 <= n < 2**62 for n in numbers) or len(self.shape) > DIMENSIONS:
            raise Unreadable(f"a tensor of shape {list(self.shape[:4])} cannot exist")
        if len(self.shape) != len(self.strides):
            raise Unreadable("a tensor has not as many strides as dimensions")
        elements = prod(self.shape)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if elements and (last >= self.storage.count or elements > self.storage.count):
            raise Unreadable(f"a tensor of shape {list(self.shape)} does not fit into its {self.storage.count} numbers")

    @property
    def dtype(self) -> str:
        return self.storage.dtype


def elements(found: Any) -> Sequence[Any]:
    """Return the elements of a list, a tuple, a set, or of a record of a class derived from one of them."""
    if isinstance(found, list | tuple):
        return found
    if isinstance(found, Record):
        return found.items or (found.args[0] if found.args and isinstance(found.args[0], list | tuple) else found.args)
    raise Unreadable("a list is required")


def numpy_number(found: Record) -> float | None:
    """The value of a number of NumPy; None for anything else."""
    kinds = {"f8": "<d", "f4": "<f", "i8": "<q", "i4": "<i"}
    if not found.name.endswith(".multiarray.scalar") or len(found.args) != 2:
        return None
    dtype, content = found.args
    code = dtype.args[0] if isinstance(dtype, Record) and dtype.args else None
    if not isinstance(code, str) or code not in kinds or not isinstance(content, bytes):
        return None
    return float(struct.unpack(kinds[code], content)[0]) if len(content) == struct.calcsize(kinds[code]) else None


def tensors(root: Any) -> Iterator[tuple[str, Stored]]:
    """Find the parameters and buffers of a record of a torch module, with their names as in its state dict.

    A module that occurs twice is visited once.
    """
    pending, seen = [("", root)], set()
    while pending:
        prefix, found = pending.pop()
        if not isinstance(found, Record) or id(found) in seen:
            continue
        seen.add(id(found))
        for kind in ("_parameters", "_buffers"):
            for name, each in members(found, kind):
                if isinstance(each, Stored):
                    yield f"{prefix}{name}", each
        below = [(f"{prefix}{name}.", each) for name, each in members(found, "_modules")]
        pending.extend(reversed(below))


def members(found: Record, kind: str) -> Iterator[tuple[str, Any]]:
    """Return the parameters, buffers or modules of a torch module."""
    held = found.attributes.get(kind)
    if isinstance(held, dict):
        yield from ((name, each) for name, each in held.items() if isinstance(name, str))

"""Frames in portions, where any of them can be read by its number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def numbered(total: int, frames: Sequence[int] | None, size: int) -> Iterator[Sequence[int]]:
    """Numbers of frames, ``size`` at a time; None: all of ``total``.

    >>> [list(portion) for portion in numbered(5, None, 2)], list(numbered(5, [1, 4], 2))
    ([[0, 1], [2, 3], [4]], [[1, 4]])
    """
    wanted = range(total) if frames is None else frames
    return (wanted[first : first + size] for first in range(0, len(wanted), size))


def portions(found: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """What comes, ``size`` at a time."""
    rest = iter(found)
    while portion := tuple(islice(rest, size)):
        yield portion

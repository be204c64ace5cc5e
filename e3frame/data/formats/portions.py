"""Splits frames into portions, which are sent to the processes that make graphs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from e3frame.spec.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms

    Frame = tuple[int, Atoms | DataError]
    """Number of a frame, and its atoms or its error."""

T = TypeVar("T")


def numbered(total: int, frames: Sequence[int] | None, size: int) -> Iterator[Sequence[int]]:
    """Yield frame numbers in portions of ``size``; None: all of ``total``.

    >>> [list(portion) for portion in numbered(5, None, 2)], list(numbered(5, [1, 4], 2))
    ([[0, 1], [2, 3], [4]], [[1, 4]])
    """
    wanted = range(total) if frames is None else frames
    return (wanted[first : first + size] for first in range(0, len(wanted), size))


def portions(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Yield items in portions of ``size``."""
    rest = iter(items)
    while portion := tuple(islice(rest, size)):
        yield portion


def in_order(found: Iterator[Atoms], file: str, format: str, frames: Sequence[int] | None) -> Iterator[Frame]:
    """Yield frames of a file without random access, with their numbers. If the reader raises an error, the error takes
    the place of the frame and is the last item.

    Args:
        found: all frames.
        format: name of the format, for messages.
        frames: numbers of the frames to yield, in ascending order; None: all.

    Raises:
        DataError: no frames.
    """
    wanted = None if frames is None else set(frames)
    end = None if wanted is None else max(wanted, default=-1) + 1
    number = 0
    while number != end:
        try:
            atoms = next(found, None)
        except DataError as error:
            frame = number if error.frame is None else error.frame
            yield number, DataError(error.problem, file=error.file or file, frame=frame, hint=error.hint)
            return
        except Exception as error:  # readers raise errors of any type, and cannot continue afterwards
            yield number, unreadable(file, format, error, number)
            return
        if atoms is None:
            break
        if wanted is None or number in wanted:
            yield number, atoms
        number += 1
    if number == 0 and end != 0:
        raise DataError("no frames", file=file)


def unreadable(file: str, format: str, error: Exception, frame: int | None = None) -> DataError:
    """Return the error for a file, or one frame, that a reader failed on."""
    return DataError(f"cannot be read as {format}: {str(error) or type(error).__name__}", file=file, frame=frame)

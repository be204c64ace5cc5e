"""Reads frames with ASE. Every error names the file and the frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ase.db import connect
from ase.io import iread
from ase.io.formats import UnknownFileTypeError, filetype, ioformats
from ase.io.trajectory import TrajectoryReader

from e3frame.data.formats.portions import in_order, portions, unreadable
from e3frame.data.formats.stated_units import is_unit_key
from e3frame.data.formats.xyz_frame import read_frame
from e3frame.data.formats.xyz_header import read_header, six_of
from e3frame.data.formats.xyz_text import Text, TextError, first_comment, index, texts
from e3frame.files.opened import is_compressed, once_per_state, require_file
from e3frame.spec.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from e3frame.data.formats.portions import Frame

XYZ = ("xyz", "extxyz")


class Held(NamedTuple):
    """Consecutive frames to send to another process: their texts, their numbers in a trajectory that the other process
    opens itself, or the frames themselves."""

    format: str
    frames: Sequence[Any]


def count_frames(file: str, format: str | None) -> int | None:
    """Return the number of frames of a file, or None if that needs reading the whole file.

    Raises:
        DataError: no frames, an unknown format, or a file that ends within a frame.
    """
    format = _format(file, format)
    if format in XYZ:
        return _index(file, format)
    if _is_indexed(file, format):
        try:
            with TrajectoryReader(file) as frames:
                return len(frames)
        except Exception as error:  # a damaged file raises anything
            raise unreadable(file, format, error) from error
    return None


def held_frames(file: str, format: str | None, frames: Sequence[int] | None, size: int) -> Iterator[Held]:
    """Yield frames of a file (in ascending order; None: all) in portions of ``size``, in one pass.

    Raises:
        DataError: no frames, or an unknown format.
    """
    format = _format(file, format)
    if format in XYZ:
        _index(file, format)
        found: Iterable[Any] = texts(file, frames)
    elif _is_indexed(file, format):
        found = range(count_frames(file, format) or 0) if frames is None else frames
    else:
        found = _others(file, format, frames)
    yield from (Held(format, portion) for portion in portions(found, size))


def read_held(file: str, held: Held) -> Iterator[Frame]:
    """Yield the frames of a portion with their numbers; for an unreadable frame, its error."""
    if held.format in XYZ:
        yield from (_xyz(text, file, held.format) for text in held.frames)
    elif held.frames and isinstance(held.frames[0], tuple):
        yield from held.frames
    else:
        yield from _trajectory(file, held.format, held.frames)


def read_frames(file: str, format: str | None, frames: Sequence[int] | None = None) -> Iterator[Frame]:
    """Yield frames of a file (in ascending order; None: all), without unit conversion, with their numbers; for an
    unreadable frame, its error. If the number of frames is unknown, an unreadable frame ends the file.

    Raises:
        DataError: no frames, or an unknown format.
    """
    none = True
    for held in held_frames(file, format, frames, 64):
        none = False
        yield from read_held(file, held)
    if none:
        raise DataError("no frames", file=file)


def stated_units(file: str, format: str | None) -> dict[str, Any]:
    """Return the units that a file states, in the keys of its first frame or the metadata of a database."""
    format = _format(file, format)
    found: dict[str, Any] = {}
    with suppress(Exception):  # a broken file is an error when its frames are read
        if format == "extxyz":
            found = read_header(first_comment(file), 2)
        elif format in ("db", "json"):
            found = connect(file, type=format).metadata
    return {key: value for key, value in found.items() if is_unit_key(key)}


def six_components(file: str, format: str | None) -> list[str]:
    """Return which of stress and virial have six numbers in the first frame."""
    if _format(file, format) != "extxyz":
        return []
    with suppress(Exception):  # as above
        return six_of(first_comment(file))
    return []


def _xyz(text: Text, file: str, format: str) -> Frame:
    try:
        return text.frame, read_frame(text, format == "extxyz")
    except TextError as error:
        problem = f"cannot be read as {format}: {error.problem}"
        return text.frame, DataError(problem, file=file, frame=text.frame, hint=error.hint)
    except Exception as error:  # ASE raises various errors for keys and columns of a wrong type
        return text.frame, unreadable(file, format, error, text.frame)


def _trajectory(file: str, format: str, frames: Sequence[int]) -> Iterator[Frame]:
    with TrajectoryReader(file) as held:
        for frame in frames:
            try:
                yield frame, held[frame]
            except Exception as error:  # as above
                yield frame, unreadable(file, format, error, frame)


def _others(file: str, format: str, frames: Sequence[int] | None) -> Iterator[Frame]:
    """Yield frames of a format without random access."""
    end = None if frames is None else max(frames, default=-1) + 1
    found = iread(file, slice(0, end), format=format, parallel=False, do_not_split_by_at_sign=True)
    return in_order(found, file, format, frames)


def _is_indexed(file: str, format: str) -> bool:
    return format == "traj" and not is_compressed(file)


@once_per_state
def _format(file: str, format: str | None) -> str:
    if require_file(file).size == 0:
        raise DataError("no frames", file=file)
    try:
        name = format or filetype(file)
    except UnknownFileTypeError:
        name = ""
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror or error}", file=file) from error
    except Exception as error:  # a damaged compressed file
        raise DataError(f"cannot be read: {str(error) or type(error).__name__}", file=file) from error
    if name in ioformats:
        return name
    if format is None:
        raise DataError("ASE does not recognize the format", file=file, hint="set data.format to its name")
    raise DataError(f"ASE has no format named {format}", file=file, hint=did_you_mean(format, ioformats, "known"))


def _index(file: str, format: str) -> int:
    """Return the number of frames of an XYZ file; raise DataError if one is incomplete."""
    try:
        return index(file).frames
    except DataError as error:
        raise DataError(error.problem, file=file, frame=error.frame, hint=error.hint) from None
    except Exception as error:  # not text, or a damaged compressed file
        raise unreadable(file, format, error) from error

"""Frames of files that ASE reads, with the file and the number of each frame that is broken."""

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
    """Consecutive frames for the process that makes their graphs: their texts, their numbers in a trajectory, which it
    opens itself, or the frames themselves."""

    format: str
    frames: Sequence[Any]


def count_frames(file: str, format: str | None) -> int | None:
    """Return the number of frames of a file; None where only reading them all tells.

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
    """Find some frames of a file (in rising order; None: all) in one pass, ``size`` at a time.

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
    """Make the frames of a portion, with their numbers; an error in place of a frame that cannot be read."""
    if held.format in XYZ:
        yield from (_xyz(text, file, held.format) for text in held.frames)
    elif held.frames and isinstance(held.frames[0], tuple):
        yield from held.frames
    else:
        yield from _trajectory(file, held.format, held.frames)


def read_frames(file: str, format: str | None, frames: Sequence[int] | None = None) -> Iterator[Frame]:
    """Read some frames of a file (in rising order; None: all) in its units, with their numbers; an error in place of a
    frame that cannot be read, which is the last one where frames cannot be counted.

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
    """Units that a file states in the keys of its first frame, or in the metadata of a database."""
    format = _format(file, format)
    found: dict[str, Any] = {}
    with suppress(Exception):  # a broken file is an error when its frames are read
        if format == "extxyz":
            found = read_header(first_comment(file), 2)
        elif format in ("db", "json"):
            found = connect(file, type=format).metadata
    return {key: value for key, value in found.items() if is_unit_key(key)}


def six_components(file: str, format: str | None) -> list[str]:
    """Those of stress and virial that the first frame gives in six numbers."""
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
    except Exception as error:  # of ASE, for keys and columns that are not of their kind
        return text.frame, unreadable(file, format, error, text.frame)


def _trajectory(file: str, format: str, frames: Sequence[int]) -> Iterator[Frame]:
    with TrajectoryReader(file) as held:
        for frame in frames:
            try:
                yield frame, held[frame]
            except Exception as error:  # as above
                yield frame, unreadable(file, format, error, frame)


def _others(file: str, format: str, frames: Sequence[int] | None) -> Iterator[Frame]:
    """Frames of a format whose files have to be read from their beginning."""
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
    except Exception as error:  # of a compressed file that is damaged
        raise DataError(f"cannot be read: {str(error) or type(error).__name__}", file=file) from error
    if name in ioformats:
        return name
    if format is None:
        raise DataError("ASE does not recognise the format", file=file, hint="name it with data.format")
    raise DataError(f"ASE knows no format {format}", file=file, hint=did_you_mean(format, ioformats, "known"))


def _index(file: str, format: str) -> int:
    """Number of frames of an XYZ file, of which each is whole."""
    try:
        return index(file).frames
    except DataError as error:
        raise DataError(error.problem, file=file, frame=error.frame, hint=error.hint) from None
    except Exception as error:  # not text, or a compressed file that is damaged
        raise unreadable(file, format, error) from error

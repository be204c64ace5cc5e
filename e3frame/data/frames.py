"""Frames from files, by ASE: everything that can be wrong with one is said here, with its file and number."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import islice
from pathlib import Path

from ase import Atoms
from ase.io import iread, read
from ase.io.formats import UnknownFileTypeError, filetype, ioformats, open_with_compression
from ase.io.trajectory import TrajectoryReader

from e3frame.data.neighbors import require_numbers
from e3frame.spec.elements import require_elements
from e3frame.spec.errors import DataError, did_you_mean


def count_frames(file: str, format: str | None) -> int | None:
    """How many frames there are; None where only reading them all would tell.

    Raises:
        DataError: no frames, an unknown format, or a file that ends within a frame.
    """
    format = _format(file, format)
    if format in ("xyz", "extxyz"):
        return _scan_xyz(file, format)
    if format == "traj":
        try:
            with TrajectoryReader(file) as frames:
                return len(frames)
        except Exception as error:  # whatever a damaged file makes of it
            raise _unreadable(file, format, error) from error
    return None


def read_frames(
    file: str, format: str | None, frames: Sequence[int] | None = None
) -> Iterator[tuple[int, Atoms | DataError]]:
    """Some frames of a file (in rising order; None: all) as they stand there, with their numbers; in place of a frame
    that cannot be read, what is wrong with it. Where nobody knows how many there are, it is the last one.

    Raises:
        DataError: no frames, or an unknown format.
    """
    format = _format(file, format)
    if frames is not None and format in SPARSE and frames[-1] - frames[0] > 2 * len(frames):
        yield from SPARSE[format](file, format, frames)
        return
    if format in ("xyz", "extxyz") and frames is None:
        _scan_xyz(file, format)
    wanted = None if frames is None else set(frames)
    frame, last = (0, None) if frames is None else (frames[0], frames[-1] + 1)
    held: Iterator[Atoms] | None = None
    while last is None or frame < last:
        try:
            if held is None:
                held = iread(file, slice(frame, last), format=format, parallel=False, do_not_split_by_at_sign=True)
            found = next(held, None)
        except Exception as error:  # ASE's readers raise whatever they stumble on, and then are at their end
            found, held = _unreadable(file, format, error, frame), None
        if found is None:
            break
        if wanted is None or frame in wanted:
            yield frame, found
        if held is None and last is None:
            return
        frame += 1
    if frame == 0:
        raise DataError("no frames", file=file)


def _sparse_xyz(file: str, format: str, frames: Sequence[int]) -> Iterator[tuple[int, Atoms | DataError]]:
    """Few frames of a file that :func:`count_frames` has found whole: the others are passed over line by line."""
    for frame, text in _texts(file, frames):
        try:
            yield frame, read(StringIO(text), format=format, parallel=False)
        except Exception as error:  # as above
            yield frame, _unreadable(file, format, error, frame)


def _texts(file: str, frames: Sequence[int]) -> Iterator[tuple[int, str]]:
    wanted, frame, held = set(frames), -1, []
    with open_with_compression(file, "r") as lines:
        for line in lines:
            if line.lstrip().startswith("VEC"):  # which may follow the atoms
                held += [line] * bool(held)
                continue
            if held:
                yield frame, "".join(held)
            frame, held = frame + 1, []
            if frame > frames[-1]:
                return
            atoms = islice(lines, int(line) + 1)
            held = [line, *atoms] if frame in wanted else deque(atoms, maxlen=0)
    if held:
        yield frame, "".join(held)


def _sparse_traj(file: str, format: str, frames: Sequence[int]) -> Iterator[tuple[int, Atoms | DataError]]:
    with TrajectoryReader(file) as held:
        for frame in frames:
            try:
                yield frame, held[frame]
            except Exception as error:  # as above
                yield frame, _unreadable(file, format, error, frame)


SPARSE = {"xyz": _sparse_xyz, "extxyz": _sparse_xyz, "traj": _sparse_traj}
"""How few frames are read of many, by the format."""


def _unreadable(file: str, format: str, error: Exception, frame: int | None = None) -> DataError:
    return DataError(f"cannot be read as {format}: {str(error) or type(error).__name__}", file=file, frame=frame)


def _format(file: str, format: str | None) -> str:
    try:
        empty = Path(file).stat().st_size == 0
        name = "" if empty else format or filetype(file)
    except UnknownFileTypeError:
        name = ""
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror or error}", file=file) from error
    except Exception as error:  # of a compressed file that is damaged
        raise DataError(f"cannot be read: {str(error) or type(error).__name__}", file=file) from error
    if empty:
        raise DataError("no frames", file=file)
    if name in ioformats:
        return name
    if format is None:
        raise DataError("ASE does not recognise the format", file=file, hint="name it with data.format")
    raise DataError(f"ASE knows no format {format}", file=file, hint=did_you_mean(format, ioformats, "known"))


def _scan_xyz(file: str, format: str) -> int:
    try:
        return _count_xyz(file)
    except DataError:
        raise
    except Exception as error:  # not text, or a compressed file that is damaged
        raise _unreadable(file, format, error) from error


def _count_xyz(file: str) -> int:
    """The number of frames; finds those that ASE would drop (it stops without a word at a blank line) or report
    without their number."""
    frame = 0
    with open_with_compression(file, "r") as lines:
        for line in lines:
            if line.lstrip().startswith("VEC"):
                continue
            if not line.strip():
                if any(rest.strip() for rest in lines):
                    raise DataError("a blank line stands where a frame should begin", file=file, frame=frame)
                return frame
            if not line.strip().isdecimal() or int(line) == 0:
                raise DataError(
                    f"the number of atoms should stand here, not '{line.strip()[:40]}'", file=file, frame=frame
                )
            count = int(line)
            found = sum(1 for _ in zip(range(count + 1), lines, strict=False)) - 1
            if found < count:
                raise DataError(f"the file ends after {max(found, 0)} of {count} atoms", file=file, frame=frame)
            frame += 1
    return frame


def checked(atoms: Atoms | DataError, length: float, file: str, frame: int) -> Atoms:
    """``atoms`` in Å, whose lengths were in units of ``length`` Å.

    Raises:
        DataError: it could not be read, no atoms, not an element, or a position or a cell that is not finite.
    """
    if isinstance(atoms, DataError):
        raise atoms
    if len(atoms) == 0:
        raise DataError("no atoms", file=file, frame=frame)
    try:
        require_numbers(atoms)
        require_elements(atoms.numbers.tolist())
    except ValueError as error:
        raise DataError(str(error), file=file, frame=frame) from None
    if length != 1.0:
        atoms.set_cell(atoms.cell.array * length)
        atoms.positions *= length
    return atoms

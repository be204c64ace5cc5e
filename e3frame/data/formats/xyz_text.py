"""Text of XYZ files: finds and reads frames in one pass, with bounded memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import count
from typing import BinaryIO, NamedTuple

from e3frame.data.formats.progress import progress
from e3frame.files.opened import once_per_state, opened, require_file
from e3frame.spec.errors import DataError

BLOCK = 1 << 20
"""Bytes read at a time."""
LONGEST = 1 << 28
"""Largest frame in bytes of memory, including Python's overhead per line."""
PER_LINE = 40
LARGE = 100_000_000
"""Size of a file in bytes above which there is a progress bar."""


class Text(NamedTuple):
    """Text of a frame: number of the frame, number of its first line (from 1), and its lines, the first with the number
    of atoms."""

    frame: int
    line: int
    text: bytes


class Index(NamedTuple):
    """Index of a file: the number of frames, and the byte and line at which each frame begins."""

    frames: int
    places: array[int]
    lines: array[int]


class TextError(ValueError):
    """Error in the text of a frame; the caller adds file and frame."""

    def __init__(self, problem: str, hint: str | None = None) -> None:
        super().__init__(problem)
        self.problem, self.hint = problem, hint


class Lines:
    """Lines of a file.

    Args:
        contents: file, positioned at the start of a line.
        longest: largest number of bytes in memory.

    Attributes:
        number: number of the next line, from 1.
    """

    def __init__(self, contents: BinaryIO, longest: int | None = None) -> None:
        self.contents, self.longest, self.number = contents, longest or LONGEST, 1
        self.place = 0
        """Number of bytes in the lines taken so far."""
        self.held: list[bytes] = []
        self.at = 0
        self.open: list[bytes] = []
        self.ended = False

    def peek(self) -> bytes | None:
        """Return the next line without taking it; None at the end."""
        if self.at == len(self.held):
            self._fill(1)
        return self.held[self.at] if self.at < len(self.held) else None

    def take(self, number: int) -> list[bytes]:
        """Return the next lines, fewer at the end of the file; raise TextError if they are too long."""
        if len(self.held) - self.at < number:
            self._fill(number)
        lines = self.held[self.at : self.at + number]
        self.at += len(lines)
        self.number += len(lines)
        self.place += sum(map(len, lines)) + len(lines)
        return lines

    def _fill(self, number: int) -> None:
        del self.held[: self.at]
        self.at = 0
        size = sum(map(len, self.held))
        while len(self.held) < number and not self.ended:
            block = self.contents.read(BLOCK)
            size += len(block)
            if size + PER_LINE * len(self.held) > self.longest:
                raise TextError(f"the frame of line {self.number} is longer than {self.longest >> 20} MiB")
            self._add(block)

    def _add(self, block: bytes) -> None:
        if not block:
            self.ended = True
            rest = b"".join(self.open)
            self.open = []
            self.held += [rest] * bool(rest)
            return
        first, *others = block.split(b"\n")
        self.open.append(first)
        if others:
            self.held.append(b"".join(self.open))
            self.open = [others.pop()]
            self.held += others


def first_comment(file: str) -> str:
    """Return the comment line of the first frame, or an empty string."""
    with opened(file) as (contents, _, _):
        lines = Lines(contents, 1 << 24)
        while (head := lines.peek()) is not None and not _bare(head, lines.number):
            lines.take(1)
        return b"".join(lines.take(2)[1:]).decode().strip()


def walk(lines: Lines, frame: int = 0) -> Iterator[Text]:
    """Yield the frames in order, skipping blank lines between them.

    Raises:
        DataError: a frame does not begin with its number of atoms, or the file ends within it.
    """
    for number in count(frame):
        try:
            while (head := lines.peek()) is not None and not _bare(head, lines.number):
                lines.take(1)
            if head is None:
                return
            first = lines.number
            atoms = atoms_in(head, first)
            body = lines.take(atoms + 2)
            if len(body) < atoms + 2:
                raise TextError(f"the file ends after {max(len(body) - 2, 0)} of {atoms} atoms")
            while (more := lines.peek()) is not None and more.lstrip().startswith(b"VEC"):
                body += lines.take(1)  # vectors of the cell, which may follow the atoms
        except TextError as error:
            raise DataError(error.problem, frame=number, hint=error.hint) from None
        yield Text(number, first, b"\n".join(body))


def atoms_in(head: bytes, line: int) -> int:
    """Return the number of atoms in the first line of a frame; raise TextError, or UnicodeError if it is not text."""
    text = _bare(head, line)
    if text.isdigit() and len(text) < 18 and int(text):
        return int(text)
    if line == 1 and text.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise TextError("the file is UTF-16 text", "save it as UTF-8")
    if line == 1 and text.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):
        raise TextError("the file is compressed", "its name must end in .gz, .bz2 or .xz")
    if b"\r" in text:
        raise TextError(f"line {line} contains carriage returns", "use Unix or Windows line endings")
    shown = text[:40].decode("ascii", "replace")
    if not shown.isprintable() or "\ufffd" in shown:
        raise UnicodeError(f"line {line} is not text")
    raise TextError(f"line {line}: expected the number of atoms, found '{shown}'")


def _bare(head: bytes, line: int) -> bytes:
    """Strip spaces and a UTF-8 byte order mark from a line."""
    return (head.removeprefix(b"\xef\xbb\xbf") if line == 1 else head).strip()


@once_per_state
def index(file: str) -> Index:
    """Find where the frames of a file begin, in one pass over its lines.

    Raises:
        DataError: a frame is incomplete; the error is that of the first one.
    """
    places, lines = array("q"), array("q")
    size = require_file(file).size
    with opened(file) as (contents, raw, seekable), progress("indexing the file", size, size > LARGE) as bar:
        held = Lines(contents)
        place = 0
        for found in walk(held):
            if seekable:
                places.append(held.place - len(found.text) - 1)
            lines.append(found.line)
            if held.place - place > 16 * BLOCK:
                place = held.place
                bar(raw.tell())
    return Index(len(lines), places, lines)


def texts(file: str, frames: Sequence[int] | None) -> Iterator[Text]:
    """Yield the texts of frames in ascending order (None: all); skips the others, by seeking in uncompressed files."""
    if frames is None:
        with opened(file) as (contents, _, _):
            yield from walk(Lines(contents))
        return
    if len(frames) == 0:
        return
    known = index(file)
    with opened(file) as (contents, _, seekable):
        if seekable:
            for frame in frames:
                contents.seek(known.places[frame])
                end = known.places[frame + 1] if frame + 1 < known.frames else -1
                text = contents.read(end - known.places[frame] if end > 0 else LONGEST)
                yield Text(frame, known.lines[frame], text)
            return
        wanted, last = set(frames), frames[-1]
        for found in walk(Lines(contents)):
            if found.frame in wanted:
                yield found
            if found.frame == last:
                return

"""Robust standard output and error: closed pipes, full disks, terminals without Unicode."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import TextIO

PLAIN = str.maketrans({
    **{"Å": "A", "\u212b": "A", "⊗": "x", "×": "x", "⊕": "+", "²": "2", "³": "3", "−": "-", "–": "-", "…": "..."},
    **{"→": "->", "·": "*", "°": " deg", "∝": "~", "ö": "oe", "ä": "ae", "ü": "ue", "é": "e"},
})  # fmt: skip
"""ASCII replacements of characters that an output cannot show; others become a question mark."""


class Output(io.FileIO):
    """An output that records a failure instead of raising it, so that a run continues without a reader.

    Attributes:
        failure: the first failure, if there was one.
    """

    failure: OSError | None = None

    def write(self, content: bytes) -> int:  # type: ignore[override]
        if self.failure is None:
            try:
                return super().write(content)
            except BrokenPipeError:
                raise
            except OSError as error:
                self.failure = error
        return len(content)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(PLAIN)
    return text.encode("ascii", "replace").decode("ascii"), error.end


codecs.register_error("e3frame.plain", _plain)


def secure() -> None:
    """Make printing never fail, except if the reader of a pipe has closed it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file to be opened would take its number, and receive what is printed
            os.open(os.devnull, os.O_RDWR)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _opened(number, "utf-8", line_buffering=True))
        elif _is_own(stream, number):
            stream.flush()
            setattr(sys, name, _opened(number, stream.encoding, stream.line_buffering))


def failure() -> OSError | None:
    """The error of standard output, or None."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        return error
    raw = _raw(sys.stdout)
    return raw.failure if isinstance(raw, Output) else None


def _is_own(stream: TextIO, number: int) -> bool:
    """Whether a stream is Python's own, not a replacement of a test or a notebook."""
    raw = _raw(stream)
    return type(raw) is io.FileIO and raw.fileno() == number


def _raw(stream: TextIO) -> object:
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)  # PYTHONUNBUFFERED leaves the buffer out


def _opened(number: int, encoding: str, line_buffering: bool) -> TextIO:
    raw: io.RawIOBase = Output(number, "w", closefd=False)
    buffer = io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffer, encoding, errors="e3frame.plain", line_buffering=line_buffering, write_through=number == 2
    )

"""Standard output and standard error, whatever they are: closed, a full disk, a terminal that knows no Å."""

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
"""What stands for characters that an output cannot show; for all others, a question mark."""


class Told(io.FileIO):
    """A file of which a failure is remembered, not raised: a run goes on when nobody can read of it.

    Attributes:
        failure: the first one.
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
    """Make both outputs such that printing never fails, except where a reader has gone."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: else the next file that is opened would take its number, and get what is printed
            os.open(os.devnull, os.O_RDWR)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _opened(number, "utf-8", line_buffering=True))
        elif _is_own(stream, number):
            stream.flush()
            setattr(sys, name, _opened(number, stream.encoding, stream.line_buffering))


def failure() -> OSError | None:
    """Why standard output could not be written, if it could not."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        return error
    raw = _raw(sys.stdout)
    return raw.failure if isinstance(raw, Told) else None


def _is_own(stream: TextIO, number: int) -> bool:
    """Whether a stream is the one that Python made, and not one that a test or a notebook put in its place."""
    raw = _raw(stream)
    return type(raw) is io.FileIO and raw.fileno() == number


def _raw(stream: TextIO) -> object:
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)  # PYTHONUNBUFFERED leaves the buffer out


def _opened(number: int, encoding: str, line_buffering: bool) -> TextIO:
    buffer = io.BufferedWriter(Told(number, "w", closefd=False))
    return io.TextIOWrapper(
        buffer, encoding, errors="e3frame.plain", line_buffering=line_buffering, write_through=number == 2
    )

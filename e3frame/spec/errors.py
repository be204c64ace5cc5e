"""User errors: each is shown as one short message, without a traceback.

Entry points catch :class:`UserError`, print ``str(error)`` and exit with code 1; any other exception is a bug.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from e3frame.algebra.errors import UserError as UserError
from e3frame.algebra.errors import terse as terse

PathKey = tuple[str | int, ...]


def dotted(path: PathKey) -> str:
    """``("layers", "conv", 0)`` as ``layers.conv.0``."""
    return ".".join(map(str, path))


def nearest(word: str, options: Iterable[str]) -> str | None:
    """The option most similar to ``word``, or None if none is close."""
    options = sorted(options)
    lowered = {option.lower(): option for option in options}
    matches = get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    return lowered[matches[0]] if matches else None


def did_you_mean(word: str, options: Iterable[str], what: str = "known") -> str:
    """A hint for an unknown name: the most similar option, else all options."""
    options = list(options)
    match = nearest(word, options)
    if match is not None:
        return f"did you mean {match}?"
    return f"{what}: {', '.join(options)}" if options else f"{what}: none"


def message(head: str, *texts: str | None) -> str:
    """Format a message: the place, then the texts indented below it.

    Text from files cannot control the terminal, and long texts are cut.
    """
    below = [f"  {line}" for text in texts if text for line in text.split("\n")]
    return terse([head.replace("\n", "\\n")] * bool(head) + below)


class SpecError(UserError):
    """A wrong value in a config.

    Args:
        path: the keys that lead to the value, from the root of the config.
        problem: what is required and what was given, one line.
        hint: what to write instead, one line, or None.
        offset: index of the mistake in the text of the value, for texts with a grammar.
        at_key: the key is wrong (unknown), not its value.
        source: the place of the value (``file:line:column`` or ``command-line override ...``), once known.
    """

    def __init__(
        self,
        path: PathKey,
        problem: str,
        hint: str | None = None,
        *,
        offset: int | None = None,
        at_key: bool = False,
        source: str | None = None,
    ) -> None:
        super().__init__(path, problem, hint)
        self.path = tuple(path)
        self.problem = problem
        self.hint = hint
        self.offset = offset
        self.at_key = at_key
        self.source = source

    def under(self, *prefix: str | int) -> SpecError:
        """The error with ``prefix`` in front of its path."""
        return SpecError(
            (*prefix, *self.path), self.problem, self.hint, offset=self.offset, at_key=self.at_key, source=self.source
        )

    def __str__(self) -> str:
        return message("  ".join(part for part in (self.source, dotted(self.path)) if part), self.problem, self.hint)


class DataError(UserError):
    """Invalid data, with the file and the frame (counted from 0) if known.

    >>> print(DataError("no forces", file="md.xyz", frame=3, hint="existing keys: energy"))
    md.xyz, frame 3
      no forces
      existing keys: energy
    """

    def __init__(
        self, problem: str, *, file: str | Path | None = None, frame: int | None = None, hint: str | None = None
    ) -> None:
        super().__init__(problem, file, frame, hint)
        self.problem = problem
        self.file = file
        self.frame = frame
        self.hint = hint

    def __reduce__(self) -> tuple[partial[DataError], tuple[str]]:
        """Make the error picklable for worker processes."""
        return partial(DataError, file=self.file, frame=self.frame, hint=self.hint), (self.problem,)

    def __str__(self) -> str:
        where = [str(self.file)] if self.file is not None else []
        where += [f"frame {self.frame}"] if self.frame is not None else []
        return message(", ".join(where), self.problem, self.hint)


class FileError(UserError):
    """An invalid file of e3frame, such as a trained model.

    >>> print(FileError("runs/mine", "no such file", "did you mean runs/main?"))
    runs/mine
      no such file
      did you mean runs/main?
    """

    def __init__(self, file: str | Path, problem: str, hint: str | None = None) -> None:
        super().__init__(file, problem, hint)
        self.file = file
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return message(str(self.file), self.problem, self.hint)

"""Error types. Each error of an argument is a ValueError, and also of the type that e3nn raises for this mistake."""

from __future__ import annotations

__all__ = [
    "AssertedError",
    "EnvironmentVariableError",
    "MissingWeightsError",
    "NoIrrepsError",
    "OutsideError",
    "UnknownModeError",
    "UserError",
    "printable",
    "terse",
]


_LINES, _CHARACTERS = 12, 400
"""Largest number of lines of a message, and of characters in a line."""


def printable(text: str, longest: int = 300) -> str:
    r"""Return text from an untrusted file with escapes for control characters and unprintable ones.

    Args:
        text: the text.
        longest: number of characters after which it is cut off.

    >>> printable("a\x1b[31m\n")
    'a\\x1b[31m\\n'
    """
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text[:longest])
    return shown if len(text) <= longest else f"{shown}..."


def terse(lines: list[str]) -> str:
    """Join the lines of a message, escaped for a terminal and cut to a bounded length."""
    more = len(lines) - _LINES
    if more > 0:
        lines = [*lines[: _LINES - 1], f"  ... and {more + 1} more lines"]
    return "\n".join(printable(line, _CHARACTERS) for line in lines)


class UserError(Exception):
    """A mistake of the user, shown as one short message without a traceback."""

    def __str__(self) -> str:
        return terse(super().__str__().split("\n"))


class EnvironmentVariableError(UserError, ValueError):
    """An environment variable with an unknown value."""


class AssertedError(ValueError, AssertionError):
    """An invalid argument, for which e3nn raises an AssertionError."""


class NoIrrepsError(ValueError, TypeError):
    """A value that cannot be converted to irreps."""


class OutsideError(ValueError, IndexError):
    """An index of a term that does not exist."""


class MissingWeightsError(AssertedError, RuntimeError):
    """Weights are missing: the module has none of its own and none were passed."""


class UnknownModeError(ValueError, KeyError):
    """A connection mode that does not exist."""

    __str__ = ValueError.__str__  # that of KeyError quotes the message

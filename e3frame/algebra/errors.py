"""Errors of wrong use: each is a ValueError, and of the type by which e3nn reports the same mistake; and the root of
all mistakes that a user is told of."""

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
"""The longest message, and the longest of its lines."""


def printable(text: str, longest: int = 300) -> str:
    r"""Text from a stranger's file as it can be shown: escapes for what a terminal would act on or cannot print.

    >>> printable("a\x1b[31m\n")
    'a\\x1b[31m\\n'
    """
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text[:longest])
    return shown if len(text) <= longest else f"{shown}..."


def terse(lines: list[str]) -> str:
    """Lines of a message as a terminal may show them: they hide nothing, do not act on it, and are not too many."""
    more = len(lines) - _LINES
    if more > 0:
        lines = [*lines[: _LINES - 1], f"  ... and {more + 1} more lines"]
    return "\n".join(printable(line, _CHARACTERS) for line in lines)


class UserError(Exception):
    """A mistake of the user's, told in one short message."""

    def __str__(self) -> str:
        return terse(super().__str__().split("\n"))


class EnvironmentVariableError(UserError, ValueError):
    """An environment variable with a value that it may not have."""


class AssertedError(ValueError, AssertionError):
    """An argument that does not fit, which e3nn asserts."""


class NoIrrepsError(ValueError, TypeError):
    """Something that irreps cannot be made of."""


class OutsideError(ValueError, IndexError):
    """The number of a term that is not there."""


class MissingWeightsError(AssertedError, RuntimeError):
    """A module without weights of its own that was given none."""


class UnknownModeError(ValueError, KeyError):
    """A connection mode that does not exist."""

    __str__ = ValueError.__str__  # that of KeyError quotes the message

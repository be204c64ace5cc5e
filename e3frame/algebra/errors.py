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
]


class UserError(Exception):
    """A mistake of the user's, told in one short message."""


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

"""Errors of wrong use: each is a ValueError, and of the type by which e3nn reports the same mistake."""

from __future__ import annotations

__all__ = ["AssertedError", "MissingWeightsError", "OutsideError"]


class AssertedError(ValueError, AssertionError):
    """An argument that does not fit, which e3nn asserts."""


class OutsideError(ValueError, IndexError):
    """The number of a term that is not there."""


class MissingWeightsError(ValueError, RuntimeError):
    """A module without weights of its own that was given none."""

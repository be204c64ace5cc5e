"""Keys of the atom pairs of a label per edge, as written in a config."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from e3frame.spec.base import Spec


class EdgeLabelSpec(Spec):
    """Keys of the atom pairs of a label per edge, one pair for each row of the label.

    A pair ``(a, b)`` is the edge a -> b, from the sending to the receiving atom; atoms count from 0. Pairs of -1 pad
    arrays whose frames have different numbers of pairs.
    """

    index: str = Field(min_length=1)
    """Key of (pairs, 2) integers: atoms a, b of each row of the label."""
    shift: str | None = Field(default=None, min_length=1)
    """Key of (pairs, 3) integers: image of atom a in cell vectors, so that the vector of the edge is
    ``pos[a] + shift @ cell - pos[b]``. Required for periodic frames."""
    reverse: Literal["same", "negative", "transposed"] | None = None
    """Value of the edge b -> a, given a row for a -> b: the same value, the negative, or the transposed matrix; null:
    each direction needs its own row."""

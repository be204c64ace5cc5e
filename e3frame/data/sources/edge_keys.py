"""Which pairs of atoms a label is of, as it is written in a config."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from e3frame.spec.base import Spec


class EdgeKeys(Spec):
    """Keys of the pairs of atoms that the rows of a label are of.

    A row ``(a, b)`` labels the edge a -> b, from the atom that sends to the one that receives; atoms count from 0. A
    row of -1 is no pair: it fills up arrays whose frames have different numbers of pairs.
    """

    index: str = Field(min_length=1)
    """(pairs, 2) integers: the atoms a, b of each row of the label."""
    shift: str | None = Field(default=None, min_length=1)
    """(pairs, 3) integers: the image of atom a, in cell vectors, so that the vector of the edge is
    ``pos[a] + shift @ cell - pos[b]``. Required where frames are periodic."""
    reverse: Literal["same", "negative", "transposed"] | None = None
    """What the edge b -> a has where a row says a -> b: the same value, the negative one, or the transposed matrix;
    null: each direction has its own row, or no label."""

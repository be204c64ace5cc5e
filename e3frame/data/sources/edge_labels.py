"""Where the pairs of atoms of a label per edge are stored, as written in a config."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from e3frame.spec.base import Spec


class EdgeLabelSpec(Spec):
    """Keys of the pairs of atoms of a label per edge, one for each of its rows.

    A pair ``(a, b)`` is the edge a -> b, from the atom that sends to the one that receives; atoms count from 0. A pair
    of -1 is none: it fills up arrays whose frames have different numbers of pairs.
    """

    index: str = Field(min_length=1)
    """(pairs, 2) integers: the atoms a, b of each row of the label."""
    shift: str | None = Field(default=None, min_length=1)
    """(pairs, 3) integers: the image of atom a, in cell vectors, so that the vector of the edge is
    ``pos[a] + shift @ cell - pos[b]``. Required where frames are periodic."""
    reverse: Literal["same", "negative", "transposed"] | None = None
    """Label of the edge b -> a where only a -> b has a row: the same value, the negative one, or the transposed matrix;
    null: each direction has its own row, or no label."""

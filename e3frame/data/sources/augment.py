"""Training frames that differ a little each time they are seen."""

from __future__ import annotations

from pydantic import Field

from e3frame.spec.base import Spec


class AugmentSpec(Spec):
    """Changes of the training frames, drawn anew in each epoch from the run's seed; validation and test see none.

    There are no rotations and inversions: a model is equivariant, so that a turned frame would train the same.
    """

    noise: float = Field(gt=0, le=0.2)
    """Standard deviation in Å of a random shift of each coordinate of each atom, after which neighbours are found anew.
    The labels stay those of the original frame, which makes it a regularizer (arXiv 2106.07971), not more data: the
    model learns to overlook such shifts. Forces and stresses, which change in proportion to the shifts, are refused;
    an energy does not change in first order only where the structures are relaxed."""

"""Random changes of training frames."""

from __future__ import annotations

from pydantic import Field

from e3frame.spec.base import Spec


class AugmentSpec(Spec):
    """Random changes of training frames, new in each epoch, from the run's seed. Validation and test frames do not
    change.

    Rotations and inversions are not needed: models are equivariant, so that a rotated frame trains them the same way.
    """

    noise: float = Field(gt=0, le=0.2)
    """Standard deviation in Å of a random shift of every coordinate; neighbours are recomputed. Labels do not change,
    so this is a regularizer (arXiv 2106.07971), not extra data. Not allowed with forces or stress, which change
    linearly with the shift; for energies it makes sense only near energy minima."""

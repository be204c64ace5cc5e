"""Steps in which numbers of a file move: whether they were stored in float32, or written with few digits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from e3frame.spec.units import ENERGY

NOISE = 1e-12
"""Part of a float64 below which a difference of sums is but rounding."""


class Rounding(NamedTuple):
    """Numbers that were rounded to multiples of ``step`` (in eV), in a unit; ``digits`` behind the point, None where
    they were stored in float32."""

    step: float
    unit: str
    digits: int | None


def rounding(values: NDArray[np.float64]) -> Rounding | None:
    """How energies in eV were rounded; None where they have all digits of a float64."""
    for unit, factor in ENERGY.items():
        written = values / factor
        if (np.abs(written - written.astype(np.float32)) <= 1e-13 * np.abs(written)).all():
            return Rounding(float(np.spacing(np.abs(written).max().astype(np.float32))) * factor, unit, None)
    for unit, factor in ENERGY.items():
        for digits in range(4):
            scaled = values / factor * 10**digits
            if (np.abs(scaled - np.round(scaled)) <= np.minimum(1e-6, 1e-9 * np.abs(scaled))).all():
                return Rounding(factor / 10**digits, unit, digits)
    return None

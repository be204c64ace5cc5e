"""Linear trend of one series on another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MIN_FRAMES = 10
"""Smallest number of frames for a trend."""
MIN_CORRELATION = 0.4
"""Smallest correlation from which anything is concluded."""
MIN_SIGNIFICANCE = 5.0
"""Smallest correlation, in standard deviations of the correlation of unrelated series."""
GROSS = np.log(5.0)
"""Logarithm of a slope that no inaccuracy of the estimate explains. Units differ by factors of 23 or more, except
bohr."""
SLIGHT = np.log(1.8)
"""Logarithm of a slope below which the estimate is inaccurate, not the unit."""
CRUDE = np.log(3.0)
"""Uncertainty (logarithm of a factor) above which an estimate does not even show the sign."""


class Trend(NamedTuple):
    """``slope`` and ``correlation`` of the values in a file on ``number`` expected ones.

    ``crude`` is the uncertainty of the expected values, as the logarithm of a factor: at a perfect correlation, and the
    increase at correlation zero.
    """

    slope: float
    correlation: float
    number: int
    crude: tuple[float, float] = (0.35, 1.75)

    @property
    def is_significant(self) -> bool:
        """Whether the two series are correlated significantly."""
        size = abs(self.correlation)
        scatter = np.sqrt(max(1 - size**2, 1e-6) / self.number)
        return size > MIN_CORRELATION and size / scatter > MIN_SIGNIFICANCE

    def against(self, doubt: float) -> Trend:
        """Return the same trend, with correlation zero if a true slope of 1 may give this slope.

        Args:
            doubt: uncertainty of the slope, as the logarithm of a factor.
        """
        off = abs(float(np.log(abs(self.slope))))
        is_sure = doubt < CRUDE if self.slope < 0 else off > 2 * doubt + self.tolerance
        return self if is_sure else self._replace(correlation=0.0)

    @property
    def tolerance(self) -> float:
        """Tolerance of the slope's logarithm. Units differ by factors of 1.9 (bohr) or of 23 or more."""
        return self.crude[0] + self.crude[1] * (1 - abs(self.correlation))

    def distance(self, factor: float) -> float:
        """Distance of the slope from a factor, as a logarithm."""
        return abs(np.log(abs(self.slope) / factor))

    def is_about(self, factor: float) -> bool:
        return self.distance(factor) < self.tolerance


def trend(
    held: NDArray[np.float64],
    expected: NDArray[np.float64],
    nuisance: NDArray[np.float64] | None = None,
    crude: tuple[float, float] = (0.35, 1.75),
) -> Trend | None:
    """Return the trend of two series (n,), or None if one of them does not vary.

    The part that ``nuisance`` (n, k) explains is subtracted from both. The slope is the ratio of the standard
    deviations (reduced major axis), because both series have errors.
    """
    if nuisance is None:
        nuisance = np.zeros((len(held), 0))
    if len(held) < nuisance.shape[1] + MIN_FRAMES - 1:
        return None
    y, x = held, expected
    if nuisance.shape[1]:
        y, x = (v - nuisance @ np.linalg.lstsq(nuisance, v, rcond=None)[0] for v in (held, expected))
    yy, xx, xy = y @ y, x @ x, x @ y
    if yy < 1e-20 * len(held) or xx < 1e-20 * len(held):
        return None
    return Trend(float(np.sign(xy) * np.sqrt(yy / xx)), float(xy / np.sqrt(xx * yy)), len(held), crude)


def summary(found: Trend | None) -> str:
    """Return slope and correlation as text for the end of a message."""
    return "" if found is None else f" (slope {found.slope:.3g}, correlation {found.correlation:.2f})"

"""float64, seeds and elements of O(3), for the tests of this folder."""

from support.fixtures import compiled, float64, generator, motion

__all__ = ["compiled", "float64", "generator", "motion"]

"""Checks of the data before training: completeness, signs, units and plausibility.

Each file holds one kind of check, functions from graphs to findings; :mod:`~e3frame.preflight.checks` runs them all.
"""

"""Checks of data before the first step: whether they can be what they are said to be.

Each file has checks of one kind, functions from graphs to findings; :mod:`~e3frame.preflight.checks` runs them all.
"""

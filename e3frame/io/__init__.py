"""Conversion to irreps of Cartesian tensors and of signals on the sphere, in e3nn's API."""

from __future__ import annotations

from e3frame.io.cartesian import CartesianTensor
from e3frame.io.spherical import SphericalTensor

__all__ = ["CartesianTensor", "SphericalTensor"]

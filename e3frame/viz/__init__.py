"""Figures, drawn with matplotlib without pyplot's global state."""

from __future__ import annotations

from e3frame.viz.spherical import draw_spherical_harmonics, draw_spherical_signal
from e3frame.viz.tensor_product import draw_tensor_product

__all__ = ["draw_spherical_harmonics", "draw_spherical_signal", "draw_tensor_product"]

"""``mean``: mean over the atoms of a graph, for intensive quantities."""

from __future__ import annotations

from typing import ClassVar, Literal

from e3frame.layers._pooling import Pooling


class Mean(Pooling):
    """``out = Σ_n (scale x_n + shift + plus_n) / N`` over the N atoms of each graph; intensive."""

    kind: Literal["mean"] = "mean"
    equation: ClassVar[str] = r"x' = \frac{1}{N} \sum_n \left( a_{z_n} x_n + b_{z_n} + y_n \right)"
    reduce = "mean"
    example: ClassVar[str] = "{kind: mean, of: x}"
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: mean, of: energies, per_species_scale_shift: {scale: {H: 1.0, C: 2.0, O: 0.5}, shift: -1.0}}",
        "{kind: mean, of: x, plus: x}",
    )

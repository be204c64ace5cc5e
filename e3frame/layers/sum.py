"""``sum``: sum over the atoms of a graph, for extensive quantities such as the energy."""

from __future__ import annotations

from typing import ClassVar, Literal

from e3frame.layers._pooling import Pooling


class Sum(Pooling):
    """``out = Σ_n (scale x_n + shift + plus_n)`` over the atoms of each graph; extensive, as needed for energies."""

    kind: Literal["sum"] = "sum"
    equation: ClassVar[str] = r"x' = \sum_n \left( a_{z_n} x_n + b_{z_n} + y_n \right)"
    reduce = "sum"
    example: ClassVar[str] = (
        "{kind: sum, of: energies, per_species_scale_shift: {scale: 2.0, shift: {H: -1.0, C: -2.0, O: -3.0}}}"
    )
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: sum, of: x}",
        "{kind: sum, of: energies, per_species_scale_shift: {scale: 2.0, shift: -1.0}, plus: repulsion}",
    )

"""``fixed_sum``: shifts scalars of the atoms so that they add up to a given total, such as charges."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from e3frame.layers._total import Total, read_total
from e3frame.spec.layer import BATCH, NUM_GRAPHS, LayerSpec, Scope, Signature, TensorType
from e3frame.spec.reach import require_scalars

if TYPE_CHECKING:
    from torch import nn


class FixedSum(LayerSpec):
    """``out_n = x_n + (Q - Σ_m x_m) / N`` over the N atoms of each graph, so that the out_n add up to Q.

    Among all values that add up to Q, these are the nearest to x by least squares.
    """

    kind: Literal["fixed_sum"] = "fixed_sum"
    of: str | None = None
    """Field per node to read, even scalars; default: the latest."""
    total: Total = 0.0
    """Total Q, for charges in e: one number for all graphs, or the name of a field with one per graph, such as an input
    of the model (``inputs: {total_charge: 0e}``, ``total: total_charge``)."""
    equation: ClassVar[str] = r"x'_n = x_n + \frac{1}{N} \left( Q - \sum_m x_m \right)"
    example: ClassVar[str] = "{kind: fixed_sum, of: energies, total: -1.0}"
    variants: ClassVar[tuple[str, ...]] = (
        "{kind: fixed_sum, of: species}",
        "{kind: fixed_sum, of: energies, total: total_charge}",
    )

    def infer(self, scope: Scope) -> Signature:
        x = scope.read(self.of, "node", "of")
        require_scalars("of", x, "a fixed sum")
        totals = read_total(scope, self.total, "total")
        return Signature((x.key, BATCH, NUM_GRAPHS, *(t.key for t in totals)), TensorType(x.irreps, "node"))

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.reduce import FixedSum

        return FixedSum(0.0 if isinstance(self.total, str) else self.total)

"""``edges_to_nodes``: sum or mean over the incoming edges of each atom."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from e3frame.spec.layer import EDGE_INDEX, SPECIES, LayerSpec, Scope, Signature, TensorType, auto

if TYPE_CHECKING:
    from torch import nn


class EdgesToNodes(LayerSpec):
    """``out[i] = Σ_{e: j -> i} x[e] / √avg_num_neighbors``, or the mean over the edges.

    The mean jumps when an edge appears or disappears at r_max; use the sum for energies.
    """

    kind: Literal["edges_to_nodes"] = "edges_to_nodes"
    of: str
    """Field per edge to read."""
    reduce: Literal["sum", "mean"] = "sum"
    """Sum or mean over incoming edges."""
    avg_num_neighbors: auto(float, lambda statistics: statistics.avg_num_neighbors) = Field("auto", gt=0)  # type: ignore[valid-type]
    """Mean number of edges per atom; the sum is divided by its square root. ``auto``: computed from the training
    data."""
    equation: ClassVar[str] = r"x'_i = \frac{1}{\sqrt{N}} \sum_{e:\, j \to i} x_e"
    example: ClassVar[str] = "{kind: edges_to_nodes, of: edge_sh, avg_num_neighbors: 3.0}"
    variants: ClassVar[tuple[str, ...]] = ("{kind: edges_to_nodes, of: radial, reduce: mean, avg_num_neighbors: 3.0}",)

    def infer(self, scope: Scope) -> Signature:
        x = scope.read(self.of, "edge", "of")
        return Signature((x.key, EDGE_INDEX, SPECIES), TensorType(x.irreps, "node"))

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.reduce import EdgesToNodes

        return EdgesToNodes(self.reduce, self.avg_num_neighbors)

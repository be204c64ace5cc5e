"""``graph_to_nodes``: copies the features of each graph to its atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from e3frame.spec.layer import BATCH, LayerSpec, Scope, Signature, TensorType

if TYPE_CHECKING:
    from torch import nn


class GraphToNodes(LayerSpec):
    """``out[n] = x[g]`` for the graph g of atom n: copies a field per graph, such as the total charge, to the atoms.

    A concatenate layer can then join it with the features of the atoms.
    """

    kind: Literal["graph_to_nodes"] = "graph_to_nodes"
    of: str
    """Field per graph to read, such as an input of the model."""
    equation: ClassVar[str] = r"x'_n = x_{g(n)}"
    example: ClassVar[str] = "{kind: graph_to_nodes, of: total_charge}"
    variants: ClassVar[tuple[str, ...]] = ("{kind: graph_to_nodes, of: energy}",)

    def infer(self, scope: Scope) -> Signature:
        x = scope.read(self.of, "graph", "of")
        return Signature((x.key, BATCH), TensorType(x.irreps, "node"))

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.reduce import GraphToNodes

        return GraphToNodes()

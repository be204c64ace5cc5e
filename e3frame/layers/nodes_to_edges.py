"""``nodes_to_edges``: copies the features of one atom of each edge to the edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from e3frame.spec.layer import EDGE_INDEX, LayerSpec, Scope, Signature, TensorType

if TYPE_CHECKING:
    from torch import nn


class NodesToEdges(LayerSpec):
    """``out[e] = x[j]`` for the source j of edge e, or ``x[i]`` for its target i."""

    kind: Literal["nodes_to_edges"] = "nodes_to_edges"
    of: str | None = None
    """Field per node to read; default: the latest."""
    end: Literal["source", "target"] = "source"
    """Atom of the edge to read: the sender (source) or the receiver (target) of the message."""
    equation: ClassVar[str] = r"x'_{j \to i} = x_j \quad \text{or} \quad x_i"
    example: ClassVar[str] = "{kind: nodes_to_edges, of: x, end: target}"
    variants: ClassVar[tuple[str, ...]] = ("{kind: nodes_to_edges, of: x, end: source}",)

    def infer(self, scope: Scope) -> Signature:
        x = scope.read(self.of, "node", "of")
        return Signature((x.key, EDGE_INDEX), TensorType(x.irreps, "edge"))

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.reduce import NodesToEdges

        return NodesToEdges(self.end)

"""``edge_vectors``: vectors from each atom to its neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from e3frame.algebra.irreps import Irreps
from e3frame.spec.layer import DTYPE, EDGE_INDEX, EDGE_SHIFT, POS, LayerSpec, Scope, Signature, TensorType

if TYPE_CHECKING:
    from torch import nn


class EdgeVectors(LayerSpec):
    """Vector of each edge in Å, ``pos[j] + shift - pos[i]`` for a message j -> i.

    Every model has this layer: if it is not written, it is added as the first layer, named ``edge_vectors``.
    """

    kind: Literal["edge_vectors"] = "edge_vectors"
    equation: ClassVar[str] = r"r_{ij} = r_j + s_{ij} - r_i"
    gives_edge_vectors = True
    example: ClassVar[str] = "{kind: edge_vectors}"

    def infer(self, scope: Scope) -> Signature:
        return Signature((POS, EDGE_INDEX, EDGE_SHIFT, DTYPE), TensorType(Irreps("1x1o"), "edge", reversal=-1))

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.geometry import EdgeVectors

        return EdgeVectors()

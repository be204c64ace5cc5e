"""Edge vectors and norms whose derivatives are finite everywhere."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from e3frame import kernels
from e3frame.kernels.functions import safe_norm

__all__ = ["EdgeVectors", "edge_pairs", "edge_vectors", "safe_norm"]


def edge_vectors(
    pos: Tensor, edge_index: Tensor, edge_shift: Tensor | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """pos[j] + shift - pos[i] for each edge from source j to target i.

    Args:
        pos: (n, 3), Å.
        edge_index: (2, e), rows j and i.
        edge_shift: (e, 3), Å, the lattice translation of the source; None for no periodic images.
        dtype: dtype of the result; None: that of the positions. float32 positions lose digits far from the origin,
            float32 differences do not: pass float64 positions, and float32 here.

    Returns:
        (e, 3), Å.
    """
    return kernels.edge_vectors(pos, edge_index, edge_shift).to(dtype=dtype)


def edge_pairs(edge_index: Tensor, edge_shift: Tensor, num_nodes: int) -> tuple[Tensor, Tensor] | None:
    """Return the row of each edge, shared with its reverse, and an edge of each row; see `e3frame.kernels.pairs`."""
    return kernels.pairs(edge_index, edge_shift, num_nodes)


class EdgeVectors(nn.Module):
    """`edge_vectors` as a module."""

    def forward(
        self, pos: Tensor, edge_index: Tensor, edge_shift: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """(n, 3), (2, e), (e, 3) -> (e, 3) of type ``dtype``."""
        return edge_vectors(pos, edge_index, edge_shift, dtype)

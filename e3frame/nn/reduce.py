"""Sums and means over the edges of a node or the nodes of a graph, and the way back, from nodes to edges.

The number of groups is an argument: reading it from the index would make the host wait for the device.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from e3frame.kernels.constants import as_floating
from e3frame.nn.scale_shift import PerSpeciesScaleShift

__all__ = [
    "Add",
    "EdgesToNodes",
    "FixedSum",
    "GraphToNodes",
    "NodesToEdges",
    "Pool",
    "Reduction",
    "group_mean",
    "group_sum",
]

Reduction = Literal["sum", "mean"]


def group_sum(x: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """Σ_{a: group[a] = g} x_a for g = 0 ... num_groups - 1; zero for an empty group.

    Args:
        x: (a, ...).
        group: (a,) int64, the group of each entry.
        num_groups: number of groups.

    Returns:
        (num_groups, ...), with the dtype of x.
    """
    return x.new_zeros(num_groups, *x.shape[1:]).index_add(0, group, x)


def group_mean(x: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """`group_sum` divided by the number of entries of each group; zero for an empty group."""
    x = as_floating(x)
    count = x.new_zeros(num_groups).index_add(0, group, x.new_ones(x.shape[0])).clamp(min=1.0)
    return group_sum(x, group, num_groups) / count.reshape(-1, *[1] * (x.dim() - 1))


class EdgesToNodes(nn.Module):
    """Sum over the edges that arrive at each node, divided by √avg_num_neighbors; or their mean.

    Args:
        reduce: "sum" or "mean".
        avg_num_neighbors: mean number of edges of a node, by which "sum" keeps unit variance.

    Raises:
        ValueError: another ``reduce``, or ``avg_num_neighbors`` not positive.
    """

    def __init__(self, reduce: Reduction = "sum", avg_num_neighbors: float = 1.0) -> None:
        super().__init__()
        self.reduce = _checked(reduce)
        if not avg_num_neighbors > 0:
            raise ValueError(f"avg_num_neighbors must be positive, got {avg_num_neighbors}")
        self.avg_num_neighbors = float(avg_num_neighbors)

    def forward(self, x: Tensor, edge_index: Tensor, species: Tensor) -> Tensor:
        """(e, ...), (2, e) and a tensor of n rows -> (n, ...)."""
        x = as_floating(x)
        if self.reduce == "mean":
            return group_mean(x, edge_index[1], species.shape[0])
        return group_sum(x, edge_index[1], species.shape[0]) * self.avg_num_neighbors**-0.5

    def extra_repr(self) -> str:
        return f"{self.reduce}, avg_num_neighbors={self.avg_num_neighbors:g}"


class NodesToEdges(nn.Module):
    """x_j for each edge, j its source, or x_i, i its target.

    Args:
        end: "source" or "target".

    Raises:
        ValueError: another ``end``.
    """

    def __init__(self, end: Literal["source", "target"] = "source") -> None:
        super().__init__()
        if end not in ("source", "target"):
            raise ValueError(f"end must be 'source' or 'target', got '{end}'")
        self.end = end

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """(n, ...) and (2, e) -> (e, ...)."""
        return x.index_select(0, edge_index[0 if self.end == "source" else 1])

    def extra_repr(self) -> str:
        return self.end


class GraphToNodes(nn.Module):
    """x_g for each node, g its graph."""

    def forward(self, x: Tensor, batch: Tensor) -> Tensor:
        """(g, ...) and (n,) -> (n, ...)."""
        return x.index_select(0, batch)


class Pool(nn.Module):
    """Sum or mean over the nodes of each graph, after an optional scale and shift.

    Sums are in float64: in float32 the sum over a large graph would lose digits. The result has the dtype of x; with a
    scale and shift, which is for energies, it is float64. What is added to the nodes is neither scaled nor shifted.

    Args:
        reduce: "sum" or "mean".
        scale_shift: applied to each node first.

    Raises:
        ValueError: another ``reduce``.
    """

    def __init__(self, reduce: Reduction = "sum", scale_shift: PerSpeciesScaleShift | None = None) -> None:
        super().__init__()
        self.reduce = _checked(reduce)
        self.scale_shift = scale_shift

    def forward(
        self, x: Tensor, species: Tensor, batch: Tensor, num_graphs: int, added: Tensor | None = None
    ) -> Tensor:
        """(n, ...), (n,), (n,) and, optionally, (n, ...) -> (num_graphs, ...)."""
        x = as_floating(x)
        nodes = self.of_nodes(x, species, added)
        out = (group_sum if self.reduce == "sum" else group_mean)(nodes, batch, num_graphs)
        return out.to(x.dtype) if self.scale_shift is None else out

    def of_nodes(self, x: Tensor, species: Tensor, added: Tensor | None = None) -> Tensor:
        """Return the contribution of each node: (n, ...), (n,) and, optionally, (n, ...) -> (n, ...) in float64."""
        nodes = x.to(torch.float64) if self.scale_shift is None else self.scale_shift(x, species)
        return nodes if added is None else nodes + added

    def extra_repr(self) -> str:
        return self.reduce


class FixedSum(nn.Module):
    """x_n + (Q - Σ_m x_m) / N: the nearest values, by least squares, that add up to Q in each graph of N nodes.

    Args:
        total: Q of every graph for which `forward` gets none.
    """

    def __init__(self, total: float = 0.0) -> None:
        super().__init__()
        self.total = float(total)

    def forward(self, x: Tensor, batch: Tensor, num_graphs: int, total: Tensor | None = None) -> Tensor:
        """(n, k), (n,) and, optionally, the total of each graph, (num_graphs, 1) -> (n, k)."""
        x = as_floating(x)
        nodes = x.new_zeros(num_graphs).index_add(0, batch, x.new_ones(x.shape[0])).clamp(min=1.0)
        excess = (group_sum(x, batch, num_graphs) - (self.total if total is None else total)) / nodes.unsqueeze(-1)
        return x - excess.index_select(0, batch)

    def extra_repr(self) -> str:
        return f"total={self.total:g}"


class Add(nn.Module):
    """x + y + ..., features of the same irreps."""

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """(..., dim), (..., dim), ... -> (..., dim)."""
        for other in others:
            x = as_floating(x) + as_floating(other)
        return x


def _checked(reduce: str) -> Reduction:
    if reduce not in ("sum", "mean"):
        raise ValueError(f"reduce must be 'sum' or 'mean', got '{reduce}'")
    return reduce  # type: ignore[return-value]

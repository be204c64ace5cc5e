"""Small random graphs, and what symmetries do to them."""

from __future__ import annotations

import torch
from torch import Tensor

Graph = dict[str, Tensor | int]


def edges_within(pos: Tensor, batch: Tensor, r_max: float) -> Tensor:
    """All pairs of different atoms of one graph within r_max: (2, e), sorted by target."""
    near = (pos[:, None] - pos[None, :]).norm(dim=-1) < r_max
    near &= batch[:, None] == batch[None, :]
    near.fill_diagonal_(False)
    target, source = near.nonzero(as_tuple=True)
    return torch.stack([source, target])


def graph_of(pos: Tensor, z: Tensor, r_max: float, batch: Tensor | None = None) -> Graph:
    """Each graph lies in a cell that no edge leaves; they have the charges 1, 0, -1, ..."""
    batch = torch.zeros_like(z) if batch is None else batch
    num_graphs = int(batch.max()) + 1 if len(batch) else 1
    edge_index = edges_within(pos.detach(), batch, r_max)
    return {
        "pos": pos,
        "z": z,
        "edge_index": edge_index,
        "edge_shift": pos.new_zeros(edge_index.shape[1], 3),
        "cell": 5.0 * torch.eye(3, dtype=pos.dtype).repeat(num_graphs, 1, 1),
        "batch": batch,
        "num_graphs": num_graphs,
        "total_charge": 1.0 - torch.arange(num_graphs, dtype=pos.dtype),
    }


def random_graph(seed: int, num_nodes: int = 6, r_max: float = 2.5, num_graphs: int = 1) -> Graph:
    """Atoms at normal positions with H, C, O in turn; float64."""
    random = torch.Generator().manual_seed(seed)
    pos = torch.randn(num_nodes, 3, generator=random, dtype=torch.float64) * 1.2
    z = torch.tensor([1, 6, 8])[torch.arange(num_nodes) % 3]
    batch = torch.arange(num_nodes) * num_graphs // num_nodes
    return graph_of(pos, z, r_max, batch)


def random_o3(seed: int, inversion: bool) -> Tensor:
    """A random rotation, or a rotation times the inversion; (3, 3) float64."""
    random = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=random, dtype=torch.float64))
    q = q * torch.diagonal(r).sign()
    q = q * torch.linalg.det(q)
    return -q if inversion else q


def moved(graph: Graph, matrix: Tensor, shift: Tensor) -> Graph:
    """Every atom at ``R pos + t``."""
    turned = {key: graph[key] @ matrix.T for key in ("pos", "edge_shift", "cell")}
    return {**graph, **turned, "pos": turned["pos"] + shift}


def permuted(graph: Graph, order: Tensor) -> Graph:
    """New atom n is old atom order[n]; the edges keep their places in the list."""
    inverse = torch.argsort(order)
    nodes = {key: graph[key][order] for key in ("pos", "z", "batch")}
    return {**graph, **nodes, "edge_index": inverse[graph["edge_index"]]}

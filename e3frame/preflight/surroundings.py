"""Vectors and matrices that turn with a frame: sums over its neighbours, of pairs and of triples, and its shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from e3frame.data.pipeline.graphs import Graph
from e3frame.preflight.pair_model import pair_types

WIDTHS = 6
"""Ranges of distance."""
MAX_FEATURES = 150
"""More pairs of elements are taken together."""


class Surroundings:
    """The neighbours in some frames.

    Args:
        graphs: the frames, of which each has edges.
        rank: 1 for vectors, 2 for symmetric matrices without trace.
    """

    def __init__(self, graphs: Sequence[Graph], rank: int) -> None:
        self.rank, self.frames = rank, len(graphs)
        atoms = torch.tensor([graph.num_nodes for graph in graphs])
        edges = torch.tensor([graph.edge_index.shape[1] for graph in graphs])
        first = torch.repeat_interleave(atoms.cumsum(0) - atoms, edges)
        self.source, self.target = torch.cat([graph.edge_index for graph in graphs], 1) + first
        self.z, pos = torch.cat([graph.z for graph in graphs]), torch.cat([graph.pos for graph in graphs])
        self.frame = torch.repeat_interleave(torch.arange(len(graphs)), atoms)
        vectors = pos[self.source] + torch.cat([graph.edge_shift for graph in graphs]) - pos[self.target]
        self.r = vectors.norm(dim=1)
        self.direction = vectors / self.r[:, None]
        self.periodic = bool(torch.cat([graph.pbc for graph in graphs]).any())
        center = torch.stack([graph.pos.mean(0) for graph in graphs])[self.frame]
        finite = ~torch.cat([graph.pbc for graph in graphs]).any(1)[self.frame]
        self.place = (pos - center) * finite[:, None]
        _, self.kind = self.z.unique(return_inverse=True)
        self.kinds = int(self.kind.max()) + 1

    def features(self) -> Tensor:
        """(frames, 3, ..., k): those that a label is fitted by."""
        pair, types = pair_types(self.z[self.source], self.z[self.target])
        if types * WIDTHS > MAX_FEATURES:
            pair, types = torch.zeros_like(pair), 1
        weights = self._ranges()
        of_edges = self._tensors(self._antisymmetric() if self.rank == 1 else torch.ones_like(self.r))
        pairs = [self._per_frame(of_edges * w.view(-1, *[1] * self.rank), pair, types) for w in weights.T]
        triples = [self._triples(w) for w in weights.T[::2]]
        shape = self.place if self.rank == 1 else _traceless(self.place[:, :, None] * self.place[:, None, :])
        return torch.cat([*pairs, *triples, self._by_element(shape)], -1)

    def made_up(self) -> Iterator[Tensor]:
        """(frames, 3, ...): tensors that turn with the frames, each of another kind."""
        random = np.random.default_rng(0)
        table = torch.from_numpy(random.uniform(0.5, 1.5, (self.kinds, self.kinds)))
        table = table[self.kind[self.source], self.kind[self.target]]
        end = float(self.r.max())
        smooth = torch.cos(torch.pi * self.r / (2 * end)) ** 2
        near = torch.exp(-2 * (self.r - self.r.min()))
        far = smooth * (self.r / end) ** 2
        sign = self._antisymmetric() if self.rank == 1 else torch.ones_like(self.r)
        crowd = self._at_atoms(smooth)
        if bool(sign.any()):
            for weight in (near * table, far * table, near * (crowd[self.source] + crowd[self.target])):
                yield self._sum(self._tensors(sign * weight))
        pull = self._at_atoms(self.direction * (smooth * table)[:, None])
        inner = near * table
        inner = self._at_atoms(
            inner[:, None, None] * _traceless(self.direction[:, :, None] * self.direction[:, None, :])
        )
        if self.rank == 1:
            yield self._frame_sum(pull * crowd[:, None])
            yield self._frame_sum((inner @ pull[:, :, None])[..., 0])
            yield self._frame_sum(self._at_atoms(self.direction * (near * crowd[self.source] ** 2)[:, None]))
            return
        yield self._frame_sum(_traceless(pull[:, :, None] * pull[:, None, :]))
        yield self._frame_sum(_traceless(inner @ inner))

    def _ranges(self) -> Tensor:
        """(edges, WIDTHS): smooth bumps over the distances that there are, narrower where they are short."""
        low, high = float(self.r.min()), float(self.r.max()) + 1e-6
        x = (torch.log(self.r) - np.log(low)) / max(np.log(high / low), 1e-6)
        centers = torch.linspace(0, 1, WIDTHS, dtype=self.r.dtype)
        cut = torch.cos(torch.pi * self.r / (2 * high)) ** 2
        return cut[:, None] * torch.exp(-(((x[:, None] - centers) * WIDTHS) ** 2))

    def _triples(self, weight: Tensor) -> Tensor:
        """(frames, 3, ..., elements): of the pull that each atom's neighbours have on it, by its element."""
        pull = self._at_atoms(self.direction * weight[:, None])
        if self.rank == 1:
            tensors = pull * self._at_atoms(weight)[:, None]
        else:
            tensors = _traceless(pull[:, :, None] * pull[:, None, :])
        return self._by_element(tensors)

    def _by_element(self, tensors: Tensor) -> Tensor:
        owner = self.frame * self.kinds + self.kind
        summed = tensors.new_zeros(self.frames * self.kinds, *tensors.shape[1:]).index_add_(0, owner, tensors)
        return summed.unflatten(0, (self.frames, self.kinds)).movedim(1, -1)

    def _antisymmetric(self) -> Tensor:
        """(edges,) from the lighter to the heavier element, or both directions of an edge would cancel."""
        return torch.sign(self.z[self.source] - self.z[self.target]).to(self.r)

    def _tensors(self, weight: Tensor) -> Tensor:
        d = self.direction
        if self.rank == 1:
            return weight[:, None] * d
        return weight[:, None, None] * (d[:, :, None] * d[:, None, :] - torch.eye(3, dtype=d.dtype) / 3)

    def _per_frame(self, tensors: Tensor, pair: Tensor, types: int) -> Tensor:
        owner = self.frame[self.target] * types + pair
        summed = tensors.new_zeros(self.frames * types, *tensors.shape[1:]).index_add_(0, owner, tensors)
        return summed.unflatten(0, (self.frames, types)).movedim(1, -1)

    def _sum(self, tensors: Tensor) -> Tensor:
        return tensors.new_zeros(self.frames, *tensors.shape[1:]).index_add_(0, self.frame[self.target], tensors)

    def _frame_sum(self, tensors: Tensor) -> Tensor:
        return tensors.new_zeros(self.frames, *tensors.shape[1:]).index_add_(0, self.frame, tensors)

    def _at_atoms(self, values: Tensor) -> Tensor:
        return values.new_zeros(len(self.z), *values.shape[1:]).index_add_(0, self.target, values)


def _traceless(matrices: Tensor) -> Tensor:
    mean = matrices.diagonal(dim1=-2, dim2=-1).mean(-1)
    return matrices - mean[..., None, None] * torch.eye(3, dtype=matrices.dtype)

"""A set of graphs, in memory or on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Dataset

from e3frame.data.pipeline.graphs import Graph, with_neighbors
from e3frame.spec.elements import SYMBOLS

BLOCK = 1024
"""Frames that are looked at in one go. What sums over all frames goes block by block, so that it has the same bits
whether they are in memory or on disk."""


class Block(NamedTuple):
    """Some keys of consecutive frames.

    Attributes:
        atoms: (frames,) in each of them.
        values: of each key, concatenated: (frames, ...) per graph, (atoms, ...) per node.
    """

    atoms: Tensor
    values: dict[str, Tensor]

    @property
    def frame(self) -> Tensor:
        """(atoms,) the frame, counted in the block, that each atom is of."""
        return torch.repeat_interleave(torch.arange(len(self.atoms)), self.atoms)


class FrameSet(Dataset):
    """A torch_geometric data set of :class:`Graph`; indexing with a slice, a list or an index tensor gives a subset.

    Attributes:
        files: files of the frames, for messages; ``graph.file`` is a place in this list.
        cached: the file on disk, if any; what is computed from the data is kept next to it.
        r_max: cutoff in Å of the neighbours, which are found when a graph is asked for that is held without edges.
    """

    files: tuple[str, ...]
    cached: Path | None
    r_max: float | None = None

    def has(self, key: str) -> bool:
        """Whether the frames have this key."""
        raise NotImplementedError

    def counts(self, key: str) -> Tensor:
        """How many entries of ``key`` each frame has: ``counts("z")`` atoms, ``counts("edge_index")`` edges."""
        raise NotImplementedError

    def completed(self, graph: Graph) -> Graph:
        """The graph with its edges."""
        if "edge_index" in graph:
            return graph
        assert self.r_max is not None
        return with_neighbors(graph, self.r_max)

    def joined(self, keys: Sequence[str], indices: Sequence[int]) -> dict[str, Tensor]:
        """Some keys of the frames at these places of the whole set, concatenated."""
        raise NotImplementedError

    def blocks(self, *keys: str) -> Iterator[Block]:
        """All frames in order, ``BLOCK`` at a time."""
        atoms, indices = self.counts("z"), self.indices()
        for first in range(0, len(indices), BLOCK):
            last = first + BLOCK
            yield Block(atoms[first:last], self.joined(keys, indices[first:last]))

    def stacked(self, key: str) -> Tensor:
        """One key of all frames in memory, concatenated: (frames, ...) per graph, (atoms, ...) per node."""
        dim = Graph().__cat_dim__(key, None)
        return torch.cat([block.values[key] for block in self.blocks(key)], dim)

    @property
    def species(self) -> tuple[str, ...]:
        """Chemical symbols present, by atomic number."""
        found: set[int] = set()
        for block in self.blocks("z"):
            found.update(block.values["z"].unique().tolist())
        return tuple(SYMBOLS[z] for z in sorted(found))

    def where(self, index: int) -> tuple[str, int]:
        """File and frame of a graph."""
        found = self.joined(["file", "frame"], [self.indices()[index]])
        return self.files[int(found["file"])], int(found["frame"])

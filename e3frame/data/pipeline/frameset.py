"""Common interface of data sets in memory and on disk."""

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
"""Frames per block. Sums over frames go block by block, so that results are bitwise equal in memory and on disk."""


class Block(NamedTuple):
    """Some keys of consecutive frames.

    Attributes:
        atoms: number of atoms in each frame, (frames,).
        values: concatenated values of each key: (frames, ...) per graph, (atoms, ...) per node.
    """

    atoms: Tensor
    values: dict[str, Tensor]

    @property
    def frame(self) -> Tensor:
        """Frame index of each atom within the block, (atoms,)."""
        return torch.repeat_interleave(torch.arange(len(self.atoms)), self.atoms)


class FrameSet(Dataset):
    """A torch_geometric data set of :class:`Graph`; indexing with a slice, a list or an index tensor gives a subset.

    Attributes:
        files: files of the frames, for messages; ``graph.file`` is an index into this list.
        cached: file of the data set in the cache, if any; statistics are cached next to it.
        r_max: cutoff of the neighbours in Å, which are computed when a graph is read that is stored without edges.
    """

    files: tuple[str, ...]
    cached: Path | None
    r_max: float | None = None

    def has(self, key: str) -> bool:
        """Whether the frames have this key."""
        raise NotImplementedError

    def counts(self, key: str) -> Tensor:
        """Return the number of entries of ``key`` in each frame: ``counts("z")`` atoms, ``counts("edge_index")``
        edges."""
        raise NotImplementedError

    def completed(self, graph: Graph) -> Graph:
        """Return the graph with its edges, computed if it is stored without them."""
        if "edge_index" in graph:
            return graph
        assert self.r_max is not None
        return with_neighbors(graph, self.r_max)

    def joined(self, keys: Sequence[str], indices: Sequence[int]) -> dict[str, Tensor]:
        """Return keys of the frames at the given indices of the whole set, concatenated."""
        raise NotImplementedError

    def blocks(self, *keys: str) -> Iterator[Block]:
        """Yield all frames in order, ``BLOCK`` at a time."""
        atoms, indices = self.counts("z"), self.indices()
        for first in range(0, len(indices), BLOCK):
            last = first + BLOCK
            yield Block(atoms[first:last], self.joined(keys, indices[first:last]))

    def stacked(self, key: str) -> Tensor:
        """Return one key of all frames, concatenated: (frames, ...) per graph, (atoms, ...) per node."""
        dim = Graph().__cat_dim__(key, None)
        return torch.cat([block.values[key] for block in self.blocks(key)], dim)

    @property
    def species(self) -> tuple[str, ...]:
        """Chemical symbols in the data set, by atomic number."""
        found: set[int] = set()
        for block in self.blocks("z"):
            found.update(block.values["z"].unique().tolist())
        return tuple(SYMBOLS[z] for z in sorted(found))

    def where(self, index: int) -> tuple[str, int]:
        """Return file and frame number of a graph."""
        found = self.joined(["file", "frame"], [self.indices()[index]])
        return self.files[int(found["file"])], int(found["frame"])

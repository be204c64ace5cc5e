"""Frames whose atoms are shifted at random, with the neighbours that they then have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from e3frame.data.pipeline.frameset import FrameSet
from e3frame.data.pipeline.graphs import Graph, with_neighbors
from e3frame.data.pipeline.sampling import SharedBatches


class Noise(NamedTuple):
    """``deviation`` of each coordinate, and ``r_max`` of the neighbours, in Å."""

    deviation: float
    r_max: float


class Draw(NamedTuple):
    """A frame as an epoch sees it."""

    epoch: int
    index: int


class DisplacedFrames(Dataset):
    r"""Positions :math:`r + \sigma\,\xi` with normal :math:`\xi`, a function of the seed, the epoch and the frame, so
    that neither workers nor processes nor an interruption change it; all else but the edges as in ``frames``.

    Args:
        frames: those to shift.
        noise: by how much.
        seed: of the run.
    """

    def __init__(self, frames: FrameSet, noise: Noise, seed: int) -> None:
        self.frames, self.noise, self.seed = frames, noise, seed

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, draw: Draw) -> Graph:
        graph = self.frames[draw.index]
        shifts = np.random.default_rng([self.seed, *draw]).normal(size=tuple(graph.pos.shape))
        graph.pos = graph.pos + self.noise.deviation * torch.from_numpy(shifts)
        # Noise may bring two atoms together, which is no fault of the data.
        return with_neighbors(graph, self.noise.r_max, closest=0.0)


class DrawnBatches(SharedBatches):
    """The same batches as those of :class:`SharedBatches`, which say of what epoch they are: workers do not know it."""

    def __iter__(self) -> Iterator[list[Draw]]:
        for frames in super().__iter__():
            yield [Draw(self.sampler.epoch, index) for index in frames]

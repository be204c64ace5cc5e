"""Turns files into graphs, in pieces and in parallel, keeping the order of the files."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain, islice
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from e3frame.data.formats.progress import progress
from e3frame.data.pipeline.graphs import Graph, checked, make_graph, without_edges
from e3frame.data.pipeline.labels import LabelReader, read_group
from e3frame.data.sources.base import ALLOW_ISOLATED, DataSpec
from e3frame.spec.elements import SYMBOLS
from e3frame.spec.errors import DataError


class Piece(NamedTuple):
    """A portion of the frames of one file: the file's index, and a portion as its source returns it."""

    file: int
    held: Any


class Chunk(NamedTuple):
    """Packed consecutive graphs: concatenated values of each key, their number per graph, and errors of skipped
    frames."""

    values: dict[str, NDArray[Any]]
    counts: dict[str, NDArray[np.int64]]
    broken: tuple[DataError, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """Everything needed to build the graphs of some files.

    Args:
        source: reads the files.
        files: names of the files; ``graph.file`` is an index into them.
        r_max: cutoff of the neighbours in Å.
        labels: reads the labels of each frame.
        chosen: numbers of the frames to make, counted over all files, in ascending order; None: all.
        piece: number of frames that one process makes at a time.
        edges: whether the graphs keep their edges; otherwise only their number.
        tolerant: whether broken frames are skipped and their errors returned with the chunk; otherwise the first one
            raises.
    """

    source: DataSpec
    files: tuple[str, ...]
    r_max: float
    labels: LabelReader
    chosen: NDArray[np.int64] | None = None
    piece: int = 512
    edges: bool = True
    tolerant: bool = False

    def pieces(self) -> Iterator[Piece]:
        """Yield the pieces of all files in order; raise DataError if a file has no frames."""
        first = 0
        for number, file in enumerate(self.files):
            count = self.source.count(file)
            if count == 0:
                raise DataError("no frames", file=file)
            frames = None
            if self.chosen is not None and count is not None:
                frames = (self.chosen[(self.chosen >= first) & (self.chosen < first + count)] - first).tolist()
            yield from (Piece(number, held) for held in self.source.portions(file, frames, self.piece))
            first += count or 0

    def total(self) -> int | None:
        """Return the number of frames in all files, or None if that needs reading them."""
        counts = [count for file in self.files if (count := self.source.count(file)) is not None]
        return sum(counts) if len(counts) == len(self.files) else None

    def chunk(self, piece: Piece) -> Chunk:
        """Build the graphs of a piece; raise DataError for the first broken frame unless broken frames are skipped."""
        broken: list[DataError] = []
        packed = pack(self._graphs(piece, broken))
        return packed._replace(broken=tuple(broken))

    def _graphs(self, piece: Piece, broken: list[DataError]) -> Iterator[Graph]:
        for frame, atoms in self.source.frames(self.files[piece.file], piece.held):
            try:
                graph = self.graph(atoms, frame, piece.file)
            except DataError as error:
                if not self.tolerant:
                    raise
                broken.append(error)
            else:
                yield graph

    def graph(self, atoms: Atoms | DataError, frame: int, number: int) -> Graph:
        """Build the graph of one frame; raise DataError if the frame is broken."""
        file = self.files[number]
        atoms = checked(atoms, self.labels.units.length_factor(), file, frame)
        labels = self.labels.read(atoms, file, frame)
        try:
            graph = make_graph(atoms, self.r_max, labels, frame, number)
        except ValueError as error:
            raise DataError(str(error), file=file, frame=frame) from error
        edges = graph.edge_index.numpy(), graph.edge_shift.numpy()
        for name, value in self.labels.read_edges(atoms, *edges, file, frame).items():
            graph[name] = torch.from_numpy(value)
        if (key := self.source.group_key) is not None:
            graph.group = torch.tensor([_code(read_group(atoms, key, file, frame))])
        if "isolated_atoms" not in self.source.allow:
            require_connected(graph, file, self.r_max)
        return graph if self.edges else without_edges(graph)


def prepared(recipe: Recipe, processes: int | None = None) -> Iterator[Chunk]:
    """Yield all graphs of a recipe, with a progress bar on a terminal.

    Args:
        processes: number of processes; None: one per core that this process may use. A single piece is made in this
            process.

    Raises:
        DataError: a frame is broken; the error is that of the first one in the files' order.
    """
    total = recipe.total() if recipe.chosen is None else len(recipe.chosen)
    pieces = recipe.pieces()
    first = list(islice(pieces, processes or len(_cores())))
    workers, pieces = len(first), chain(first, pieces)
    chunks = map(recipe.chunk, pieces) if workers < 2 else _by_processes(recipe, pieces, workers)
    done = 0
    with progress("preparing data", total, total is None or total > recipe.piece) as bar:
        for chunk in chunks:
            yield chunk
            done += len(chunk.counts.get("z", ())) + len(chunk.broken)
            bar(done)


def pack(graphs: Iterable[Graph]) -> Chunk:
    """Concatenate graphs that all have the same keys."""
    rows = [{key: value.numpy() for key, value in graph} for graph in graphs]
    if not rows:
        return Chunk({}, {})
    dims = {key: 1 if key == "edge_index" else 0 for key in rows[0]}
    return Chunk(
        {key: np.concatenate([row[key] for row in rows], dim) for key, dim in dims.items()},
        {key: np.array([row[key].shape[dim] for row in rows], dtype=np.int64) for key, dim in dims.items()},
    )


def _cores() -> Sequence[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _by_processes(recipe: Recipe, pieces: Iterable[Piece], workers: int) -> Iterator[Chunk]:
    """Parallel ``map`` with few pieces in flight, so that a large set is never in memory as a whole."""
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pending: deque[Future[Chunk]] = deque()
    with ProcessPoolExecutor(workers, context, initializer=_begin) as pool:
        try:
            for piece in pieces:
                pending.append(pool.submit(recipe.chunk, piece))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            hint = "the machine may be out of memory; data.processes=1 needs the least"
            raise DataError("a process that prepares the data was killed", hint=hint) from error
        finally:
            for future in pending:
                future.cancel()


def _begin() -> None:
    """Start a worker with one compute thread, and a thread that ends the worker when its parent ends for any reason."""
    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _code(group: str) -> int:
    """Hash a text to the same number in every process."""
    return int.from_bytes(hashlib.blake2b(group.encode(), digest_size=8).digest(), "big", signed=True)


def require_connected(graph: Graph, file: str, r_max: float) -> None:
    """Raise DataError if an atom has no neighbour.

    A frame with a single atom is valid (a reference energy). An atom that is isolated from all others is an error,
    unless the user allows it.
    """
    if graph.num_nodes > 1:
        alone = np.bincount(graph.edge_index[1].numpy(), minlength=graph.num_nodes) == 0
        if alone.any():
            atom = int(alone.argmax())
            raise DataError(
                f"atom {atom} ({SYMBOLS[graph.z[atom]]}) has no neighbour within r_max = {r_max:g} Å",
                file=file,
                frame=int(graph.frame),
                hint=f"raise model.r_max, or check data.units.length\nif isolated atoms are intended: {ALLOW_ISOLATED}",
            )

"""Data set of graphs in memory, its cache on disk (safetensors, no pickle), and splits."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch_geometric.data import InMemoryDataset

from e3frame.data.pipeline.disk import open_or_write
from e3frame.data.pipeline.frameset import FrameSet
from e3frame.data.pipeline.graphs import Graph
from e3frame.data.pipeline.intact import sound
from e3frame.data.pipeline.preparation import Chunk
from e3frame.files.parts import clear_parts
from e3frame.files.regular import require_regular
from e3frame.files.written import replace_file
from e3frame.spec.elements import SYMBOLS
from e3frame.spec.errors import DataError

VERSION = 3
"""Version of the cache. Raise it when the content of graphs or statistics changes; older files are then ignored."""

log = logging.getLogger(__name__)


class GraphDataset(FrameSet, InMemoryDataset):
    """Graphs of frames, collated in memory.

    Args:
        graph, slices: the collated graphs, as :meth:`InMemoryDataset.collate` returns them.
        files: files of the frames.
        cached: file of the data set in the cache, if any.
    """

    def __init__(
        self, graph: Graph, slices: dict[str, Tensor], files: Sequence[str], cached: Path | None = None
    ) -> None:
        super().__init__()
        self._data, self.slices = graph, slices
        self.files, self.cached = tuple(files), cached

    @classmethod
    def from_graphs(cls, graphs: Sequence[Graph], files: Sequence[str] = ("memory",)) -> GraphDataset:
        """Build a data set from graphs that all have the same keys."""
        graph, slices = cls.collate(graphs)
        if slices is None:  # torch_geometric does not collate a single graph
            slices = {key: torch.tensor([0, value.shape[graph.__cat_dim__(key, value)]]) for key, value in graph}
        return cls(graph, slices, files)

    @classmethod
    def from_chunks(cls, chunks: Iterable[Chunk], files: Sequence[str] = ("memory",)) -> GraphDataset:
        """Build a data set from packed graphs.

        Raises:
            DataError: there are no graphs.
        """
        chunks = [chunk for chunk in chunks if chunk.values]
        if not chunks:
            raise DataError("no frames", file=", ".join(files))
        graph, slices = Graph(), {}
        for key in chunks[0].values:
            dim = graph.__cat_dim__(key, None)
            graph[key] = torch.from_numpy(np.concatenate([chunk.values[key] for chunk in chunks], dim))
            counts = np.concatenate([[0], *(chunk.counts[key] for chunk in chunks)])
            slices[key] = torch.from_numpy(counts.cumsum())
        return cls(graph, slices, files)

    def stacked(self, key: str) -> Tensor:
        return self._data[key] if self._indices is None else super().stacked(key)

    def joined(self, keys: Sequence[str], indices: Sequence[int]) -> dict[str, Tensor]:
        found = {}
        for key in keys:
            values, bounds = self._data[key], self.slices[key]
            dim = self._data.__cat_dim__(key, values)
            if isinstance(indices, range) and indices.step == 1:
                parts = [values.narrow(dim, first := int(bounds[indices[0]]), int(bounds[indices[-1] + 1]) - first)]
            else:
                place = torch.tensor(indices, dtype=torch.long)
                starts, ends = bounds[place].tolist(), bounds[place + 1].tolist()
                parts = [values.narrow(dim, first, last - first) for first, last in zip(starts, ends, strict=True)]
            found[key] = torch.cat(parts, dim)
        return found

    def get(self, idx: int) -> Graph:
        return self.completed(super().get(idx))

    def counts(self, key: str) -> Tensor:
        if key == "edge_index" and not self.has(key):
            return self.stacked("edges")
        return self.slices[key].diff()[torch.tensor(list(self.indices()), dtype=torch.long)]

    def has(self, key: str) -> bool:
        return key in self._data


@dataclass(frozen=True)
class Splits:
    """Training, validation and test frames; a split without frames is None.

    Raises:
        DataError: validation or test frames have an element that no training frame has.
    """

    train: FrameSet
    val: FrameSet | None
    test: FrameSet | None

    def __post_init__(self) -> None:
        known = self.train.species
        for name, dataset in self.items():
            unseen = set() if dataset is self.train else set(dataset.species) - set(known)
            if unseen:
                index = next(k for k, graph in enumerate(dataset) if unseen & {SYMBOLS[z] for z in graph.z.tolist()})
                file, frame = dataset.where(index)
                symbols = [SYMBOLS[z] for z in dataset[index].z.unique().tolist() if SYMBOLS[z] in unseen]
                raise DataError(
                    f"the {name} frames have {', '.join(symbols)}, which no training frame has",
                    file=file,
                    frame=frame,
                    hint=f"training frames have {', '.join(known)}",
                )

    @classmethod
    def of(cls, sets: Mapping[str, FrameSet | None]) -> Splits:
        """Make splits from data sets by name; validation and test may be missing.

        Raises:
            DataError: there are no training frames.
        """
        train = sets.get("train")
        if train is None:
            raise DataError("no training frames are left")
        return cls(train, sets.get("val"), sets.get("test"))

    def items(self) -> Iterator[tuple[str, FrameSet]]:
        """Yield the names and data sets of the splits that have frames."""
        for name in ("train", "val", "test"):
            dataset = getattr(self, name)
            if dataset is not None:
                yield name, dataset


def content_key(files: Iterable[str | Path], options: Any) -> str:
    """Return a hash of the files' bytes and of JSON options, to name a cache file."""
    digest = hashlib.blake2b(json.dumps([VERSION, options], sort_keys=True).encode(), digest_size=16)
    for file in files:
        with open(file, "rb") as raw:
            digest.update(hashlib.file_digest(raw, "blake2b").digest())
    return digest.hexdigest()


def load_or_build(
    path: Path,
    files: Sequence[str],
    build: Callable[[], Iterable[Chunk]],
    r_max: float,
    storage: str = "memory",
) -> FrameSet:
    """Load the data set at ``path``; if it is missing or damaged, call ``build()`` and save the result.

    Args:
        r_max: cutoff of the neighbours in Å, for graphs that are stored without edges.
        storage: ``memory``; or ``disk``: the file has the suffix .db, and graphs are read from it one by one.

    Raises:
        DataError: there are no graphs.
    """
    clear_parts(path)
    if storage == "disk":
        dataset: FrameSet = open_or_write(path.with_suffix(".db"), files, build)
    elif (held := _load(path, files)) is not None:
        dataset = held
    else:
        dataset = GraphDataset.from_chunks(build(), files)
        dataset.cached = write_atomically(path, _packed(dataset))
    dataset.r_max = r_max
    return dataset


def write_atomically(path: Path, content: bytes) -> Path | None:
    """Write a cache file atomically, so that no reader sees a part of it; return None if the folder is not
    writable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        log.warning("cannot write %s, so the prepared data are not cached: %s", path, error.strerror)
        return None
    return path


def _packed(dataset: GraphDataset) -> bytes:
    tensors = {key: value.contiguous() for key, value in dataset._data}
    tensors |= {f"slices.{key}": value for key, value in dataset.slices.items()}
    return save(tensors, metadata={"digest": _digest(tensors)})


def _load(path: Path, files: Sequence[str]) -> GraphDataset | None:
    if not (path.exists() or path.is_symlink()):
        return None
    try:
        require_regular(path)
        with safe_open(path, framework="pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
            intact = (opened.metadata() or {}).get("digest") == _digest(tensors)
    except (SafetensorError, OSError, TypeError, ValueError):
        intact = False
    if intact:
        slices = {key.removeprefix("slices."): tensors.pop(key) for key in list(tensors) if key.startswith("slices.")}
        if _sliced(tensors, slices) and sound(tensors, {key: s.diff() for key, s in slices.items()}, len(files)):
            return GraphDataset(Graph(**tensors), slices, files, path)
    log.warning("%s is damaged and is rebuilt", path)
    return None


def _sliced(tensors: dict[str, Tensor], slices: dict[str, Tensor]) -> bool:
    """Whether the slices start at 0, end at the size of their tensors, and never decrease."""
    if tensors.keys() != slices.keys() or not slices or any(not tensor.ndim for tensor in tensors.values()):
        return False
    frames = {len(each) if each.ndim == 1 and each.dtype == torch.int64 else 0 for each in slices.values()}
    if len(frames) > 1 or min(frames) < 2:
        return False
    sizes = {key: tensor.shape[1 if key == "edge_index" and tensor.ndim > 1 else 0] for key, tensor in tensors.items()}
    return all(s[0] == 0 and s[-1] == sizes[key] and bool((s.diff() >= 0).all()) for key, s in slices.items())


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for key in sorted(tensors):
        digest.update(key.encode() + str(tuple(tensors[key].shape)).encode())
        digest.update(tensors[key].numpy().tobytes())
    return digest.hexdigest()

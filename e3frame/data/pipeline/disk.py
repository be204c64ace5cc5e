"""Data sets larger than memory: graphs are read one by one from SQLite, via torch_geometric's ``OnDiskDataset`` with a
schema of tensors instead of pickles."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import OnDiskDataset, SQLiteDatabase

from e3frame.data.pipeline.frameset import FrameSet
from e3frame.data.pipeline.graphs import Graph
from e3frame.data.pipeline.intact import plausible, sound
from e3frame.data.pipeline.preparation import Chunk
from e3frame.files.regular import open_regular
from e3frame.files.written import replaced
from e3frame.spec.errors import DataError

COUNTED = ("z", "edge_index")
"""Keys whose length per frame is kept in memory."""

REBUILD = "delete the file to rebuild it"

log = logging.getLogger(__name__)


class Contents(NamedTuple):
    """Metadata of the file.

    Attributes:
        keys: type and size of the tensor of each key of a frame, in the order of the columns.
        counts: number of entries of each COUNTED key in each frame, (frames,).
    """

    keys: dict[str, dict[str, Any]]
    counts: dict[str, Tensor]


class Table(SQLiteDatabase):
    """Read-only table of a finished file, which needs no locks between processes."""

    def connect(self) -> None:
        self._connection = sqlite3.connect(f"{Path(self.path).absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        self._cursor = self._connection.cursor()


class DiskDataset(FrameSet, OnDiskDataset):
    """Frames in a SQLite file. Memory holds 16 bytes per frame, and the current batch.

    Args:
        path: file that :func:`write` has written.
        files: files of the frames.
        contents: result of :func:`read_contents`.
    """

    _db: SQLiteDatabase | None

    def __init__(self, path: Path, files: Sequence[str], contents: Contents) -> None:
        self.files, self.cached, self.contents = tuple(files), path, contents
        self._process = os.getpid()
        super().__init__(str(path.parent), schema=_schema(contents.keys))
        self._numel = len(contents.counts["z"])

    @property
    def db(self) -> SQLiteDatabase:
        """Connection of this process; SQLite connections must not cross a fork."""
        if self._db is None or self._process != os.getpid():
            self._db, self._process = Table(str(self.cached), type(self).__name__, self.schema), os.getpid()
        return self._db

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_db": None}

    def __getitems__(self, indices: Sequence[int]) -> list[Graph]:
        # torch_geometric's method takes indices in a subset for indices in the whole set.
        return [self[k] for k in indices]

    def get(self, idx: int) -> Graph:
        """Return a frame; raise DataError if it is damaged."""
        values = {key: column[0] for key, column in self._read(list(self.contents.keys), [idx]).items()}
        counts = {key: torch.tensor([tensor.shape[Graph().__cat_dim__(key, None)]]) for key, tensor in values.items()}
        held = {key: int(count[idx]) for key, count in self.contents.counts.items()}
        edges = counts.get("edge_index", values.get("edges"))
        if not sound(values, counts, len(self.files)) or edges is None:
            raise self._damaged(idx)
        if held != {"z": int(counts["z"]), "edge_index": int(edges)}:
            raise self._damaged(idx)
        return self.completed(Graph(**values))

    def has(self, key: str) -> bool:
        return key in self.contents.keys

    def counts(self, key: str) -> Tensor:
        found = self.contents.counts[key]
        return found if self._indices is None else found[torch.tensor(self._indices, dtype=torch.long)]

    def joined(self, keys: Sequence[str], indices: Sequence[int]) -> dict[str, Tensor]:
        found = self._read(keys, indices)
        for key, column in found.items():
            for index, tensor in zip(indices, column, strict=True):
                if not plausible(key, tensor):
                    raise self._damaged(index)
        return {key: torch.cat(column, Graph().__cat_dim__(key, None)) for key, column in found.items()}

    def _read(self, keys: Sequence[str], indices: Sequence[int]) -> dict[str, list[Tensor]]:
        """Return keys of some frames; raise DataError if a frame is damaged."""
        known = list(self.contents.keys)
        found: dict[str, list[Tensor]] = {key: [] for key in keys}
        whole = len(keys) == len(known)
        for index in indices:
            row = self._select([known.index(key) for key in keys] + [len(known)] * whole, index)
            try:
                columns = row[: len(keys)]
                if whole and _checksum(columns) != row[-1]:
                    raise ValueError
                for key, raw in zip(keys, columns, strict=True):
                    found[key].append(_tensor(raw, self.contents.keys[key]))
            except (TypeError, ValueError, RuntimeError):  # no row, or columns of a wrong type or size
                raise self._damaged(index) from None
        return found

    def _damaged(self, index: int) -> DataError:
        return DataError(f"entry {index} is damaged", file=self.cached, hint=REBUILD)

    def _select(self, columns: Sequence[int], index: int) -> tuple[Any, ...]:
        names = ", ".join(f"COL_{number}" for number in columns)
        query = f"SELECT {names} FROM {self.db.name} WHERE id = ?"
        try:
            found = self.db.cursor.execute(query, (index,)).fetchone()
        except sqlite3.Error as error:
            raise DataError(f"cannot be read: {error}", file=self.cached, hint=REBUILD) from None
        return found


def open_or_write(path: Path, files: Sequence[str], build: Callable[[], Iterable[Chunk]]) -> DiskDataset:
    """Open the data set at ``path``; if it is missing or damaged, write the graphs that ``build()`` yields.

    Raises:
        DataError: there are no graphs, or the file cannot be written.
    """
    contents = read_contents(path)
    if contents is None:
        write(path, files, build)
        contents = read_contents(path)
    if contents is None:  # another process wrote another file there
        raise DataError("is damaged", file=path, hint=REBUILD)
    return DiskDataset(path, files, contents)


def write(path: Path, files: Sequence[str], build: Callable[[], Iterable[Chunk]]) -> None:
    """Write all graphs, a few at a time; the file gets its final name when it is complete."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as part:
            _fill(part, (chunk for chunk in build() if chunk.values), files)
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        hint = "set data.cache_dir to a folder with free space, or data.storage=memory"
        problem = f"cannot be written, but data.storage=disk needs it: {reason}"
        raise DataError(problem, file=path, hint=hint) from None


def read_contents(path: Path) -> Contents | None:
    """Read the metadata of a file; None if the file is missing or damaged."""
    if not (path.exists() or path.is_symlink()):
        return None
    try:
        with open_regular(path) as raw:
            header = raw.read(100)
        # SQLite notices a truncated file only when it reads the missing pages.
        whole = int.from_bytes(header[16:18], "big") * int.from_bytes(header[28:32], "big") == path.stat().st_size
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            keys, *counts, digest = connection.execute("SELECT * FROM contents").fetchone()
        if whole and digest == _digest(keys, *counts):
            found = [torch.frombuffer(bytearray(raw), dtype=torch.int64) for raw in counts]
            contents = Contents(json.loads(keys), dict(zip(COUNTED, found, strict=True)))
            if _is_described(contents):
                return contents
    except (OSError, sqlite3.Error, AttributeError, KeyError, TypeError, ValueError, RecursionError):
        pass
    log.warning("%s is damaged and is rebuilt", path)
    return None


def _is_described(contents: Contents) -> bool:
    """Whether the columns and counts are valid. The contents of a frame are checked when it is read."""
    for key, about in contents.keys.items():
        sizes, open_at = about["size"], 1 if key == "edge_index" else 0
        whole = all(type(size) is int and size >= 0 for k, size in enumerate(sizes) if k != open_at)
        if about["dtype"] not in ("float64", "int64", "bool") or sizes[open_at] != -1 or not whole:
            return False
    atoms, edges = (contents.counts[key] for key in COUNTED)
    return len(atoms) == len(edges) > 0 and bool((atoms > 0).all() and (edges >= 0).all())


def _fill(part: Path, chunks: Iterator[Chunk], files: Sequence[str]) -> None:
    first = next(chunks, None)
    if first is None:
        raise DataError("no frames", file=", ".join(files))
    keys = {key: _described(key, values) for key, values in first.values.items()}
    chunks = chain([first], chunks)
    del first  # otherwise it stays in memory to the end
    counts: dict[str, list[NDArray[np.int64]]] = {key: [] for key in COUNTED}
    number = 0
    with closing(SQLiteDatabase(str(part), DiskDataset.__name__, _schema(keys))) as table:
        table.cursor.execute("PRAGMA journal_mode = OFF")  # an unfinished file is never read
        table.cursor.execute("PRAGMA synchronous = OFF")
        for chunk in chunks:
            rows = list(_rows(chunk, list(keys)))
            # Copies are made of each batch of rows.
            table.multi_insert(range(number, number + len(rows)), rows, batch_size=32)
            number += len(rows)
            counts["z"].append(chunk.counts["z"])
            counts["edge_index"].append(chunk.counts["edge_index"] if "edge_index" in keys else chunk.values["edges"])
        described, numbers = json.dumps(keys), [np.concatenate(counts[key]).tobytes() for key in COUNTED]
        table.cursor.execute("CREATE TABLE contents (keys TEXT, atoms BLOB, edges BLOB, digest TEXT)")
        table.cursor.execute(
            "INSERT INTO contents VALUES (?, ?, ?, ?)", (described, *numbers, _digest(described, *numbers))
        )


def _rows(chunk: Chunk, keys: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Yield the columns of each frame; the last is a checksum of the others."""
    parts = {}
    for key in keys:
        dim = Graph().__cat_dim__(key, None)
        parts[key] = np.split(chunk.values[key], chunk.counts[key].cumsum()[:-1], axis=dim)
    for arrays in zip(*parts.values(), strict=True):
        yield (*map(torch.from_numpy, arrays), _checksum(array.tobytes() for array in arrays))


def _described(key: str, values: NDArray[Any]) -> dict[str, Any]:
    size = [2, -1] if key == "edge_index" else [-1, *values.shape[1:]]
    return {"dtype": str(values.dtype), "size": size}


def _schema(keys: Mapping[str, Mapping[str, Any]]) -> tuple[Any, ...]:
    """Return the types of the columns. Columns have numbers instead of names, as SQLite cannot distinguish the labels
    ``e`` and ``E``."""
    tensors = ({"dtype": getattr(torch, about["dtype"]), "size": tuple(about["size"])} for about in keys.values())
    return (*tensors, int)


def _tensor(raw: bytes, about: Mapping[str, Any]) -> Tensor:
    dtype = getattr(torch, about["dtype"])
    flat = torch.frombuffer(bytearray(raw), dtype=dtype) if raw else torch.empty(0, dtype=dtype)
    return flat.view(*about["size"])


def _checksum(columns: Iterable[bytes]) -> int:
    value = 0
    for column in columns:
        value = zlib.crc32(column, value)
    return value


def _digest(keys: str, *counts: bytes) -> str:
    return hashlib.blake2b(b"".join([keys.encode(), *counts]), digest_size=16).hexdigest()

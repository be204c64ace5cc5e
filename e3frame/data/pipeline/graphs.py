"""Converts atoms to torch_geometric graphs, and batches of these to the input tensors of a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.data.storage import GlobalStorage

from e3frame.data.pipeline.neighbors import CLOSEST, neighbors, require_numbers
from e3frame.spec.elements import require_elements
from e3frame.spec.errors import DataError


class _Store(GlobalStorage):
    """Storage of a graph. torch_geometric's own treats any key named ``x``, ``feat``, ``n_id`` and so on as per-node
    data, but a label per frame may have such a name."""

    @property
    def num_nodes(self) -> int | None:
        return self["z"].shape[0] if "z" in self else None

    @property
    def can_infer_num_nodes(self) -> bool:
        return True


class Graph(Data):
    """Graph of one frame with ``n`` atoms and ``e`` edges; floats are float64, lengths in Å.

    ``pos`` (n, 3), ``z`` (n,), ``edge_index`` (2, e), ``edge_shift`` (e, 3), ``cell`` (1, 3, 3), ``pbc`` (1, 3),
    ``frame`` (1,) number of the frame in its file, ``file`` (1,) index in the data set's list of files, and each label
    under its name. The vector of an edge is ``pos[edge_index[0]] + edge_shift - pos[edge_index[1]]``.
    """

    def __init__(self, **values: Any) -> None:
        super().__init__()
        self.__dict__["_store"] = _Store(_parent=self)
        for key, value in values.items():
            setattr(self, key, value)

    # torch_geometric matches substrings of the key, and increments a label named "refractive_index".
    def __cat_dim__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> int:
        return 1 if key == "edge_index" else 0

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> int:
        return self.num_nodes if key == "edge_index" else 0


def checked(atoms: Atoms | DataError, length: float, file: str, frame: int) -> Atoms:
    """Convert the lengths of a frame to Å in place, given their unit ``length`` in Å.

    Raises:
        DataError: the frame could not be read, has no atoms, an unknown element, or a position or a cell that is not
            finite.
    """
    if isinstance(atoms, DataError):
        raise atoms
    if len(atoms) == 0:
        raise DataError("no atoms", file=file, frame=frame)
    try:
        require_numbers(atoms)
        require_elements(atoms.numbers.tolist())
    except ValueError as error:
        raise DataError(str(error), file=file, frame=frame) from None
    if length != 1.0:
        atoms.set_cell(atoms.cell.array * length)
        atoms.positions *= length
    return atoms


def make_graph(
    atoms: Atoms, r_max: float, labels: Mapping[str, NDArray[Any]] | None = None, frame: int = 0, file: int = 0
) -> Graph:
    """Build the graph of ``atoms`` with neighbours within ``r_max`` (Å). ``labels`` have shape (1, ...) or (n, ...).

    Raises:
        ValueError: invalid positions or cell; see `neighbors`.
    """
    edge_index, edge_shift = neighbors(atoms, r_max)
    return Graph(
        pos=torch.from_numpy(atoms.positions.astype(np.float64)),
        z=torch.from_numpy(atoms.numbers.astype(np.int64)),
        edge_index=torch.from_numpy(edge_index),
        edge_shift=torch.from_numpy(edge_shift),
        cell=torch.from_numpy(atoms.cell.array[None].astype(np.float64)),
        pbc=torch.from_numpy(atoms.pbc[None].copy()),
        frame=torch.tensor([frame]),
        file=torch.tensor([file]),
        **{name: torch.from_numpy(np.array(value, dtype=np.float64)) for name, value in (labels or {}).items()},
    )


def without_edges(graph: Graph) -> Graph:
    """Replace the edges of a graph by their number, ``edges`` (1,)."""
    graph.edges = torch.tensor([graph.edge_index.shape[1]])
    del graph.edge_index, graph.edge_shift
    return graph


def with_neighbors(graph: Graph, r_max: float, closest: float = CLOSEST) -> Graph:
    """Recompute the edges of a graph from its positions; arguments as for `neighbors`."""
    atoms = Atoms(graph.z.numpy(), graph.pos.numpy(), cell=graph.cell[0].numpy(), pbc=graph.pbc[0].numpy())
    graph.edge_index, graph.edge_shift = map(torch.from_numpy, neighbors(atoms, r_max, closest))
    if "edges" in graph:
        del graph.edges
    return graph


def model_input(batch: Batch | Graph, dtype: torch.dtype | None = None, inputs: Collection[str] = ()) -> dict[str, Any]:
    """Return the input tensors of a model.

    These are ``pos`` (n, 3), ``z`` (n,), ``edge_index`` (2, e), ``edge_shift`` (e, 3), ``cell`` (g, 3, 3), ``batch``
    (n,), int ``num_graphs``, and the model's ``inputs``, (g, ...) each. ``pos``, ``edge_shift``, ``cell`` and the
    inputs are cast to ``dtype`` (None: unchanged). A single graph is a batch of one.
    """
    owner: Tensor | None = batch.batch
    if owner is None:
        owner = batch.z.new_zeros(len(batch.z))
    return {
        "pos": batch.pos.to(dtype=dtype),
        "z": batch.z,
        "edge_index": batch.edge_index,
        "edge_shift": batch.edge_shift.to(dtype=dtype),
        "cell": batch.cell.to(dtype=dtype),
        "batch": owner,
        "num_graphs": len(batch.frame),
        **{name: batch[name].to(dtype=dtype) for name in inputs},
    }

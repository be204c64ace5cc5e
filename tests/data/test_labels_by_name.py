"""Labels are what their kind says, however long they are and whatever they are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from torch_geometric.data import Batch

from e3frame.data.pipeline.loader import prepare, recipe_of
from e3frame.data.sources.base import Label
from e3frame.data.sources.npz import NpzSpec
from e3frame.data.sources.xyz import XyzSpec

NAMES = (
    "x",
    "feat",
    "n_id",
    "tf",
    "node_type",
    "adj",
    "face",
    "edge_attr",
    "y",
    "train_mask",
    "keys",
    "to",
    "size",
    "index",
)
"""Names by which torch_geometric knows what is per node, per edge, or one of its own."""
N = 10


@pytest.mark.parametrize("storage", ["memory", "disk"])
@pytest.mark.parametrize("neighbors", ["stored", "computed"])
def test_labels_as_long_as_something_else(storage: str, neighbors: str, tmp_path: Path) -> None:
    """Three rows for atoms of which one is none in half of the frames, and labels per frame of three rows, too."""
    rng = np.random.default_rng(0)
    numbers = np.array([[8, 1, 0]] * 5 + [[8, 1, 1]] * 5)
    arrays = {name: rng.normal(size=(N, 3, 3)) for kind in NAMES for name in (kind, f"{kind}_atoms")}
    labels = {name: Label("node", (3,)) if name.endswith("_atoms") else Label("graph", (3, 3)) for name in arrays}
    positions = np.tile(np.array([[0, 0, 0], [0, 0, 1.0], [0, 1, 0]]), (N, 1, 1))
    np.savez(tmp_path / "a.npz", z=numbers, R=positions, **arrays)
    keys = {name: name for name in arrays}
    spec = NpzSpec(path=str(tmp_path / "a.npz"), keys=keys, storage=storage, neighbors=neighbors)
    for _ in range(2):  # made, and read from the cache, in whose file keys are in another order
        dataset = prepare(spec, recipe_of(spec, 3.0, labels))
        batch = Batch.from_data_list([dataset[k] for k in range(N)])
        assert batch.num_nodes == len(batch.batch) == len(batch.z) == 25
        assert (batch.batch[batch.edge_index[0]] == batch.batch[batch.edge_index[1]]).all()
        for name, values in arrays.items():
            real = values[numbers > 0] if name.endswith("_atoms") else values
            np.testing.assert_array_equal(batch[name], real)
            np.testing.assert_array_equal(dataset[1][name], values[1][:2] if name.endswith("_atoms") else values[1:2])


def test_one_key_for_a_frame_and_for_its_atoms(tmp_path: Path) -> None:
    values = np.arange(6.0).reshape(2, 3)
    numbers = np.array([[8, 1, 0], [8, 1, 1]])
    positions = np.tile(np.array([[0, 0, 0], [0, 0, 1.0], [0, 1, 0]]), (2, 1, 1))
    np.savez(tmp_path / "a.npz", z=numbers, R=positions, v=values)
    spec = NpzSpec(path=str(tmp_path / "a.npz"), keys={"vector": "v", "scalar": "v"})
    dataset = prepare(spec, recipe_of(spec, 3.0, {"vector": Label("graph", (3,)), "scalar": Label("node")}))
    assert dataset[0].vector.tolist() == [[0.0, 1.0, 2.0]]
    assert dataset[0].scalar.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("suffix", ["xyz", "xyz.gz"])
def test_a_vector_of_a_frame_with_as_many_atoms(suffix: str, tmp_path: Path) -> None:
    made = []
    for k in range(3):
        atoms = Atoms("OH2", [[0, 0, 0], [0, 0, 1], [0, 1, 0]])
        atoms.info |= {"v": np.arange(3.0) + k, "m": np.arange(9.0).reshape(3, 3)}
        atoms.arrays["q"] = np.arange(3.0) - k
        made.append(atoms)
    path = tmp_path / f"a.{suffix}"
    write(path, made)
    spec = XyzSpec(path=str(path), keys={"v": "v", "m": "m", "q": "q"})
    labels = {"v": Label("graph", (3,)), "m": Label("graph", (3, 3)), "q": Label("node")}
    dataset = prepare(spec, recipe_of(spec, 3.0, labels))
    for k, graph in enumerate(dataset):
        assert graph.v.tolist() == [[k, k + 1.0, k + 2.0]]
        assert graph.m.tolist() == [np.arange(9.0).reshape(3, 3).tolist()]
        assert graph.q.tolist() == [-k, 1.0 - k, 2.0 - k]

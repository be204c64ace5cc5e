"""Neighbour lists against ASE's own."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.neighborlist import primitive_neighbor_list

from e3frame.data.pipeline.graphs import make_graph
from e3frame.data.pipeline.neighbors import neighbors

PERIODICITIES = list(product([False, True], repeat=3))


def oracle(atoms: Atoms, r_max: float) -> tuple[np.ndarray, np.ndarray]:
    """Sources and targets, and edge vectors, in our order."""
    target, source, image, vector = primitive_neighbor_list("ijSD", atoms.pbc, atoms.cell, atoms.positions, r_max)
    order = np.lexsort((*image.T[::-1], source, target))
    return np.stack([source, target])[:, order], vector[order]


@pytest.mark.parametrize("pbc", PERIODICITIES)
@pytest.mark.parametrize("size", [1.6, 3.5, 11.0])
@pytest.mark.parametrize("r_max", [2.0, 5.0])
def test_equals_ase(pbc: tuple[bool, bool, bool], size: float, r_max: float) -> None:
    """Triclinic cells, among them ones where an atom sees many images of itself, atoms outside the cell."""
    rng = np.random.default_rng(int(10 * size) + sum(pbc))
    cell = size * (np.eye(3) + 0.2 * rng.normal(size=(3, 3)))
    atoms = Atoms("HCNO", positions=rng.uniform(-size, 2 * size, (4, 3)), cell=cell, pbc=pbc)
    edge_index, edge_shift = neighbors(atoms, r_max)
    expected_index, expected_vector = oracle(atoms, r_max)
    np.testing.assert_array_equal(edge_index, expected_index)
    vector = atoms.positions[edge_index[0]] + edge_shift - atoms.positions[edge_index[1]]
    np.testing.assert_allclose(vector, expected_vector, atol=1e-10)
    assert (np.linalg.norm(vector, axis=1) < r_max).all()


@pytest.mark.parametrize("pbc", PERIODICITIES)
def test_open_directions_need_no_cell(pbc: tuple[bool, bool, bool]) -> None:
    """Their cell vectors may be zero, or anything else."""
    rng = np.random.default_rng(3)
    positions = rng.uniform(0, 3, (5, 3))
    without, other = np.diag(np.where(pbc, 3.0, 0.0)), np.diag(np.where(pbc, 3.0, 0.7))
    reference = neighbors(Atoms("H5", positions=positions, cell=3 * np.eye(3), pbc=pbc), 4.0)
    for cell in (without, other):
        found = neighbors(Atoms("H5", positions=positions, cell=cell, pbc=pbc), 4.0)
        np.testing.assert_array_equal(found[0], reference[0])
        np.testing.assert_allclose(found[1], reference[1], atol=1e-12)


def test_sees_own_images() -> None:
    atoms = bulk("Cu", "fcc", a=3.6)
    edge_index, edge_shift = neighbors(atoms, 2.7)
    assert edge_index.shape == (2, 12)
    assert (edge_index == 0).all()
    np.testing.assert_allclose(np.linalg.norm(edge_shift, axis=1), 3.6 / np.sqrt(2))


def test_single_atom_has_no_edges() -> None:
    edge_index, edge_shift = neighbors(Atoms("H"), 5.0)
    assert edge_index.shape == (2, 0)
    assert edge_shift.shape == (0, 3)


def test_no_pair_at_the_cutoff_of_an_open_molecule_is_missed() -> None:
    atoms = molecule("C6H6")
    distances = np.linalg.norm(atoms.positions[:, None] - atoms.positions, axis=-1)
    for r_max in (1.2, 2.6, 4.4):
        assert neighbors(atoms, r_max)[0].shape[1] == ((distances < r_max) & (distances > 0)).sum()


@pytest.mark.parametrize("cell", [np.zeros((3, 3)), np.diag([3.0, 3.0, 0.0]), np.ones((3, 3))])
def test_rejects_a_cell_without_volume(cell: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"^the frame is periodic, but its cell vectors are linearly dependent: "):
        neighbors(Atoms("H2", positions=[[0, 0, 0], [0, 0, 1]], cell=cell, pbc=True), 3.0)


def test_graph_keys_shapes_and_order() -> None:
    atoms = molecule("CH3CH2OH", cell=[9, 9, 9], pbc=[True, False, True])
    graph = make_graph(atoms, 3.0, {"energy": np.array([1.5])}, frame=7, file=2)
    shapes = {key: tuple(value.shape) for key, value in graph}
    edges = graph.edge_index.shape[1]
    assert shapes == {
        "pos": (9, 3), "z": (9,), "edge_index": (2, edges), "edge_shift": (edges, 3), "cell": (1, 3, 3), "pbc": (1, 3),
        "frame": (1,), "file": (1,), "energy": (1,),
    }  # fmt: skip
    assert graph.pos.dtype == graph.edge_shift.dtype == graph.cell.dtype == graph.energy.dtype == torch.float64
    assert graph.z.dtype == graph.edge_index.dtype == torch.int64
    assert graph.pbc.tolist() == [[True, False, True]]
    assert (int(graph.frame), int(graph.file)) == (7, 2)
    pairs = [(target, source) for source, target in graph.edge_index.T.tolist()]
    assert pairs == sorted(pairs)
    vector = graph.pos[graph.edge_index[0]] + graph.edge_shift - graph.pos[graph.edge_index[1]]
    assert (vector.norm(dim=1) < 3.0).all()

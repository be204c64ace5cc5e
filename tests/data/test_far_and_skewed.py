"""Neighbour lists of structures that no one meant to make: atoms far away, strange cells, crowds of atoms."""

from __future__ import annotations

import re
import time
from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from e3frame.data.pipeline.graphs import make_graph
from e3frame.data.pipeline.neighbors import neighbors

Edges = set[tuple[int, int, int, int, int]]


def brute_force(atoms: Atoms, r_max: float) -> Edges:
    """Every atom against every image that could be near, one by one: target, source, image."""
    cell, pbc = atoms.cell.array, atoms.pbc
    heights = 1 / np.linalg.norm(np.linalg.pinv(cell[pbc]), axis=0)
    fractional = atoms.positions @ np.linalg.pinv(cell[pbc])
    spread = np.ceil(np.ptp(fractional, axis=0) + r_max / heights).astype(int) + 1
    span = np.zeros(3, dtype=int)
    span[pbc] = spread
    found = set()
    for image in product(*(range(-s, s + 1) for s in span)):
        shift = np.array(image, dtype=float) @ cell
        distance = np.linalg.norm(atoms.positions[None] + shift - atoms.positions[:, None], axis=-1)
        for i, j in np.argwhere((distance < r_max) & (distance > 0)):
            found.add((int(i), int(j), *image))
    return found


def listed(atoms: Atoms, r_max: float, closest: float = 0.0) -> Edges:
    index, shift = neighbors(atoms, r_max, closest)
    image = np.zeros((len(shift), 3), dtype=int)
    if atoms.pbc.any():
        image[:, atoms.pbc] = np.rint(shift @ np.linalg.pinv(atoms.cell.array[atoms.pbc]))
        np.testing.assert_allclose(image @ atoms.cell.array, shift, atol=1e-6)
    rows = [tuple(map(int, row)) for row in np.column_stack([index[1], index[0], image])]
    assert rows == sorted(rows)
    assert len(set(rows)) == len(rows)
    return set(rows)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    pbc=st.tuples(*[st.booleans()] * 3),
    size=st.sampled_from([1.2, 3.0, 9.0]),
    skew=st.sampled_from([0.1, 0.8, 3.0]),
    r_max=st.sampled_from([0.7, 2.0, 4.1]),
    spread=st.sampled_from([1.0, 3.0]),
    left_handed=st.booleans(),
)
def test_equals_brute_force(
    seed: int, pbc: tuple[bool, ...], size: float, skew: float, r_max: float, spread: float, left_handed: bool
) -> None:
    random = np.random.default_rng(seed)
    cell = size * (np.eye(3) + skew * np.triu(random.normal(size=(3, 3)), 1))
    cell = cell[[1, 0, 2]] if left_handed else cell
    cell[~np.array(pbc)] *= random.integers(0, 2)
    positions = random.uniform(-spread * size, spread * size, (random.integers(1, 6), 3))
    atoms = Atoms(np.ones(len(positions)), positions, cell=cell, pbc=pbc)
    assert listed(atoms, r_max) == brute_force(atoms, r_max)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    pbc=st.tuples(*[st.booleans()] * 3),
    exponent=st.floats(1.2, 10),
    clusters=st.integers(1, 4),
)
def test_clusters_far_apart_have_their_own_edges(
    seed: int, pbc: tuple[bool, ...], exponent: float, clusters: int
) -> None:
    """Molecules at distances up to 10^10 Å along open directions, or so many cells away along periodic ones."""
    random, open_axes = np.random.default_rng(seed), ~np.array(pbc)
    one, r_max = molecule("CH3OH"), 3.0
    one.set_cell(15.0 * np.eye(3))
    one.pbc = pbc
    bonds = {(i, j) for i, j, *_ in brute_force(one, r_max)}
    atoms, expected = Atoms(cell=one.cell, pbc=pbc), set()
    for k in range(clusters if open_axes.any() else 1):
        part = one.copy()
        part.positions += open_axes * k * 10**exponent
        part.positions += 15.0 * ~open_axes * np.round(random.normal(size=3) * 10**exponent / 15.0)
        atoms += part
        expected |= {(i + 6 * k, j + 6 * k) for i, j in bonds}
    index, shift = neighbors(atoms, r_max, 0.0)
    assert set(zip(index[1].tolist(), index[0].tolist(), strict=True)) == expected
    vector = atoms.positions[index[0]] - atoms.positions[index[1]] + shift
    assert (np.linalg.norm(vector, axis=1) < r_max).all()


def seconds(atoms: Atoms, r_max: float) -> tuple[int, float]:
    began = time.process_time()
    edges = neighbors(atoms, r_max)[0].shape[1]
    return edges, time.process_time() - began


@pytest.mark.parametrize("where", [[4e5, 0, 0], [1e5, 1e5, 0], [1e6, -1e6, 1e6], [0, 0, 1e10]])
@pytest.mark.parametrize("kind", ["molecule", "slab", "chain"])
def test_one_atom_far_away_costs_nothing(kind: str, where: list[float]) -> None:
    near = {
        "molecule": molecule("C60"),
        "slab": fcc111("Cu", (4, 4, 3), vacuum=8.0),
        "chain": Atoms("C100", [[1.3 * k, 0.1 * (k % 2), 0] for k in range(100)], cell=[130, 0, 0], pbc=[1, 0, 0]),
    }[kind]
    near.rattle(0.01)
    where = np.where(near.pbc, 0.3, where)
    expected, _ = seconds(near, 5.0)
    edges, cost = seconds(near + Atoms("H", [where + np.where(near.pbc, 0.0, 50.0)]), 5.0)
    assert edges == expected > 100
    assert cost < 1.0


@pytest.mark.parametrize("spread", [1e3, 1e6, 1e9])
def test_an_exploded_simulation(spread: float) -> None:
    """Atoms everywhere, and a cluster that is left."""
    random = np.random.default_rng(0)
    gas = Atoms("Ar3000", random.uniform(-spread, spread, (3000, 3)) + 2e3)
    rest = bulk("Cu", cubic=True) * (5, 5, 5)
    rest.pbc = False
    expected, _ = seconds(rest, 5.0)
    edges, cost = seconds(rest + gas, 5.0)
    assert expected <= edges <= expected + 10
    assert cost < 2.0


@pytest.mark.parametrize("steps", [1, 1000, 10**6])
@pytest.mark.parametrize("dimension", [2, 3])
def test_the_cell_may_be_skewed_by_any_number_of_vectors(steps: int, dimension: int) -> None:
    """The same lattice, spanned by other vectors, has the same edges at about the same cost."""
    plain = fcc111("Cu", (2, 2, 2), vacuum=5.0) if dimension == 2 else bulk("NaCl", "rocksalt", 5.6)
    cell = plain.cell.array.copy()
    cell[0] += steps * cell[1]
    if dimension == 3:
        cell[2] -= 3 * steps * cell[1] + 2 * cell[0]
    skewed = plain.copy()
    skewed.set_cell(cell)
    edges, cost = seconds(skewed, 6.0)
    assert edges == seconds(plain, 6.0)[0] > 50
    assert cost < 1.0
    index, shift = neighbors(skewed, 6.0)
    length = np.linalg.norm(skewed.positions[index[0]] - skewed.positions[index[1]] + shift, axis=1)
    index, shift = neighbors(plain, 6.0)
    expected = np.linalg.norm(plain.positions[index[0]] - plain.positions[index[1]] + shift, axis=1)
    np.testing.assert_allclose(np.sort(length), np.sort(expected), atol=1e-7)


@pytest.mark.parametrize("distance", [0.0, 1e3, 1e6, 5e9])
def test_atoms_outside_the_cell_are_wrapped_exactly(distance: float) -> None:
    """Whole numbers of cells away an atom has the same neighbours; float64 resolves 5e9 Å to 1e-6 Å."""
    atoms = bulk("NaCl", "rocksalt", 5.5, cubic=True)
    atoms.rattle(0.1, seed=1)
    expected = np.sort(lengths(atoms, 5.0))
    atoms.positions[0] += np.round(distance / 5.5) * 5.5 * np.array([1.0, -1.0, 1.0])
    np.testing.assert_allclose(np.sort(lengths(atoms, 5.0)), expected, atol=5e-6)


def lengths(atoms: Atoms, r_max: float) -> np.ndarray:
    index, shift = neighbors(atoms, r_max)
    return np.linalg.norm(atoms.positions[index[0]] - atoms.positions[index[1]] + shift, axis=1)


@pytest.mark.parametrize("pbc", [False, True])
def test_each_edge_has_its_reverse_exactly(pbc: bool) -> None:
    """Vectors of an edge and its reverse are each other's negatives to the last bit, also at the cutoff."""
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.pbc = pbc
    atoms.positions += [123456.7, -98765.4, 0.3]
    for r_max in (3.61, 3.61 / np.sqrt(2), 5.1):
        graph = make_graph(atoms, r_max)
        source, target = graph.edge_index.tolist()
        vector = (graph.pos[source] - graph.pos[target] + graph.edge_shift).tolist()
        forward = {(i, j, *v) for i, j, v in zip(source, target, vector, strict=True)}
        assert forward == {(j, i, *(-x + 0.0 for x in v)) for i, j, *v in forward}


NAN, INF = float("nan"), float("inf")
WRONG = {
    "NaN": (Atoms("H2", [[0, 0, 0], [0, NAN, 1]]), "the position of atom 1 is not finite: [0.0, nan, 1.0]"),
    "infinite": (Atoms("H2", [[INF, 0, 0], [0, 0, 1]]), "the position of atom 0 is not finite: [inf, 0.0, 0.0]"),
    "overflow": (
        Atoms("H2", [[0, 0, 0], [0, 0, 1e200]]),
        "the position of atom 1 is too far from the origin for exact distances: [0.0, 0.0, 1e+200] Å",
    ),
    "NaN cell": (Atoms("H", cell=[NAN, 1, 1], pbc=True), "the cell is not finite: [[nan, "),
    "huge cell": (Atoms("H", cell=[1e200, 1, 1], pbc=True), "the cell is too large for exact distances: [[1e+200, "),
    "no cell": (
        Atoms("H", pbc=[1, 0, 0]),
        "the frame is periodic, but its cell vectors are linearly dependent: [[0.0, 0.0, 0.0]]",
    ),
    "parallel": (
        Atoms("H", cell=[[1, 2, 3], [2, 4, 6], [0, 0, 0]], pbc=[1, 1, 0]),
        "the frame is periodic, but its cell vectors are linearly dependent: [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]",
    ),
    "a plane": (
        Atoms("H", cell=[[3, 0, 0], [-1.5, 2.6, 0], [-1.5, -2.6, 0]], pbc=True),
        "the frame is periodic, but its cell vectors are linearly dependent: ",
    ),
    "tiny volume": (Atoms("H", cell=[0.1, 0.1, 0.1], pbc=True), "the cell has 0.001 Å^3 for 1 atoms: check"),
    "tiny chain": (Atoms("H", cell=[1e-9, 0, 0], pbc=[1, 0, 0]), "each atom is 1e-09 Å from its own image: check"),
    "huge r_max": (bulk("Cu"), "far too small for r_max = 1e+04 Å"),
    "coincident": (Atoms("H20000", np.zeros((20000, 3))), " are at the same place: 0 Å from each other"),
    "a crowd": (
        Atoms("H20000", np.random.default_rng(0).uniform(0, 1, (20000, 3))),
        " are at the same place: 0.0",
    ),
    "two crowds": (
        Atoms("H8000", np.repeat([[0, 0, 0], [1e6, 0, 0]], 4000, 0), cell=[3e6, 9, 9], pbc=[1, 0, 1]),
        " are at the same place: 0 Å from each other",
    ),
    "too many": (
        Atoms("H15625", np.stack(np.meshgrid(*[np.arange(25)] * 3), -1).reshape(-1, 3) * 0.1),
        " neighbours within r_max = 1e+04 Å of each atom, ",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_quickly(name: str) -> None:
    atoms, message = WRONG[name]
    began = time.process_time()
    with pytest.raises(ValueError, match=re.escape(message)):
        neighbors(atoms, 1e4 if name in ("huge r_max", "too many") else 5.0)
    assert time.process_time() - began < 2.0


@pytest.mark.parametrize("pbc", list(product([False, True], repeat=3)))
@pytest.mark.parametrize("r_max", [1e-3, 1.0, 12.0])
def test_a_single_atom_sees_its_images_alone(pbc: tuple[bool, ...], r_max: float) -> None:
    atoms = Atoms("H", [[1e6, 2.0, -3.0]], cell=np.diag([2.0, 3.0, 4.0]) * pbc, pbc=pbc)
    assert listed(atoms, r_max) == brute_force(atoms, r_max)


def test_no_atoms() -> None:
    index, shift = neighbors(Atoms(cell=[3, 3, 3], pbc=True), 5.0)
    assert index.shape == (2, 0)
    assert shift.shape == (0, 3)

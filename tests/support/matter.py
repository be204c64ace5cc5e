"""Matter of many kinds, with tensors that turn with it, for the tests of what is said of data."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111, graphene, molecule, nanotube
from ase.cluster import Icosahedron
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]


def cscl() -> Atoms:
    return bulk("CsCl", "cesiumchloride", a=4.12)


def perovskite() -> Atoms:
    places = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Atoms("SrTiO3", scaled_positions=places, cell=[3.9] * 3, pbc=True)


def slab() -> Atoms:
    return fcc111("Al", (1, 1, 4), vacuum=8.0)


def sheet() -> Atoms:
    return graphene("C2", size=(2, 2, 1), vacuum=8.0)


MATTER: dict[str, Callable[[], Atoms]] = {
    "CsCl": cscl,
    "NaCl": lambda: bulk("NaCl", "rocksalt", a=5.64),
    "copper": lambda: bulk("Cu", cubic=True),
    "iron": lambda: bulk("Fe", cubic=True),
    "silicon": lambda: bulk("Si"),
    "ZnS": lambda: bulk("ZnS", "zincblende", a=5.41),
    "wurtzite": lambda: bulk("ZnO", "wurtzite", a=3.25, c=5.2),
    "perovskite": perovskite,
    "slab": slab,
    "sheet": sheet,
    "tube": lambda: nanotube(4, 0, length=1, vacuum=8.0),
    "cluster": lambda: Icosahedron("Cu", 2),
    "methane": lambda: molecule("CH4"),
    "benzene": lambda: molecule("C6H6"),
    "ethanol": lambda: molecule("CH3CH2OH"),
    "CO2": lambda: molecule("CO2"),
    "dimer": lambda: Atoms("N2", [[0, 0, 0], [1.1, 0, 0]]),
}


def rattled(name: str, amplitude: float, number: int, seed: int = 0, strain: float = 0.0) -> list[Atoms]:
    """Frames of one kind of matter with shifted atoms, and a strained cell if it has one, each turned at random."""
    rng, frames = np.random.default_rng(seed), []
    for _ in range(number):
        atoms = MATTER[name]()
        if atoms.pbc.any():
            atoms.set_cell(atoms.cell @ (np.eye(3) + strain * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.positions += amplitude * rng.normal(size=atoms.positions.shape)
        turn = Rotation.random(random_state=rng).as_matrix()
        atoms.set_cell(atoms.cell @ turn.T)
        atoms.positions = atoms.positions @ turn.T
        frames.append(atoms)
    return frames


def molecules(number: int, seed: int = 0) -> list[Atoms]:
    """Different ones, as in a set of small organic molecules."""
    rng = np.random.default_rng(seed)
    names = (
        "CH3CH2OH",
        "C6H6",
        "CH3CONH2",
        "C4H4O",
        "CH3COCH3",
        "HCOOH",
        "C2H6",
        "H3CNH2",
        "C5H5N",
        "H2CO",
        "trans-butane",
    )
    frames = []
    for _ in range(number):
        atoms = molecule(str(rng.choice(names)))
        atoms.positions += 0.03 * rng.normal(size=atoms.positions.shape)
        atoms.positions = atoms.positions @ Rotation.random(random_state=rng).as_matrix().T
        frames.append(atoms)
    return frames


# Tensors. None is of the form that the check itself fits.


FARTHEST = 6.5
"""Å, that any of the tensors reaches."""


def pairs(atoms: Atoms, reach: float) -> tuple[NDArray, NDArray, Array, Array]:
    content = (atoms.positions.tobytes(), atoms.cell.array.tobytes(), atoms.pbc.tobytes())
    i, j, d, r = _pairs(*content)
    near = r < reach
    return i[near], j[near], d[near], r[near]


@lru_cache(maxsize=1)
def _pairs(positions: bytes, cell: bytes, pbc: bytes) -> tuple[NDArray, NDArray, Array, Array]:
    """All that are needed of one frame, of which all tensors are computed one after another."""
    places, along = np.frombuffer(positions).reshape(-1, 3), np.frombuffer(pbc, dtype=bool)
    atoms = Atoms(positions=places, cell=np.frombuffer(cell).reshape(3, 3), pbc=along)
    i, j, d = neighbor_list("ijD", atoms, FARTHEST)
    return i, j, d, np.linalg.norm(d, axis=1)


def weights(atoms: Atoms) -> Array:
    return 1.0 + 0.5 * np.sin(1.7 * atoms.numbers)


def induced(atoms: Atoms, reach: float = 5.5) -> Array:
    """Polarizability of interacting dipoles on the atoms (Applequist, Carl and Fung 1972), screened at short range."""
    i, j, d, r = pairs(atoms, reach)
    n = len(atoms)
    fade = np.cos(np.pi * r / (2 * reach)) ** 2 * r**6 / (r**6 + 1.5**6)
    field = (np.eye(3) - 3 * d[:, :, None] * d[:, None, :] / r[:, None, None] ** 2) * (fade / r**3)[:, None, None]
    matrix = np.zeros((n, 3, n, 3))
    np.add.at(matrix, (i, slice(None), j), field)
    matrix = matrix.reshape(3 * n, 3 * n) + np.diag(np.repeat(1 / weights(atoms), 3))
    return np.linalg.inv(matrix).reshape(n, 3, n, 3).sum((0, 2))


def angular(atoms: Atoms, reach: float = 4.5) -> Array:
    """From the angles at each atom."""
    i, _, d, r = pairs(atoms, reach)
    found, w = np.zeros((3, 3)), weights(atoms)
    for atom in range(len(atoms)):
        mine = i == atom
        u = d[mine] / r[mine][:, None]
        f = np.cos(np.pi * r[mine] / (2 * reach)) ** 2 * np.exp(-r[mine] / 2)
        bend = np.exp(u @ u.T) * f[:, None] * f
        found += w[atom] * np.einsum("jk,ja,kb->ab", bend, u, u)
    return found


def bonds(atoms: Atoms, reach: float = 4.5) -> Array:
    """From pairs, more where an atom has fewer neighbours."""
    i, j, d, r = pairs(atoms, reach)
    f = np.cos(np.pi * r / (2 * reach)) ** 2
    crowd = np.bincount(i, f, len(atoms))
    w = weights(atoms)
    strength = f * np.exp(-1.5 * r) * w[i] * w[j] / np.sqrt(crowd[i] * crowd[j])
    return np.einsum("p,pa,pb->ab", strength, d, d)


def far(atoms: Atoms, reach: float = 6.5) -> Array:
    """From atoms farther away than most cutoffs."""
    i, j, d, r = pairs(atoms, reach)
    q = weights(atoms) - weights(atoms).mean() + 0.1
    strength = np.cos(np.pi * r / (2 * reach)) ** 2 * q[i] * q[j] / r**3
    return np.einsum("p,pa,pb->ab", strength, d, d) / len(atoms)


def square(atoms: Atoms) -> Array:
    m = bonds(atoms, 5.5)
    m = m - np.trace(m) / 3 * np.eye(3)
    return m @ m + 0.3 * m


def odd(atoms: Atoms) -> Array:
    """With an antisymmetric part."""
    m, v = induced(atoms), moment(atoms)
    return m + np.cross(np.eye(3), v) * 0.3 + np.outer(v, v)


def moment(atoms: Atoms, reach: float = 5.0) -> Array:
    """A vector: charges that flow along the bonds, and what the surroundings of each atom add."""
    i, j, d, r = pairs(atoms, reach)
    f = np.cos(np.pi * r / (2 * reach)) ** 2 * np.exp(-r / 1.5)
    w, crowd = weights(atoms), np.bincount(i, f, len(atoms))
    flow = f * (w[i] - w[j]) * (1 + crowd[i] + crowd[j])
    bent = f * crowd[j] * w[i]
    return ((flow + bent)[:, None] * d).sum(0)


MATRICES = {"induced": induced, "angular": angular, "bonds": bonds, "far": far, "square": square, "odd": odd}

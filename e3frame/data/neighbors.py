"""Neighbour lists, by vesin."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from vesin import NeighborList

CLOSEST = 0.05
"""Distance in Å below which two atoms are taken for one that stands in the file twice."""

SMALLEST = 0.1
"""Volume in Å^3 that an atom of a crystal has at the very least; solid hydrogen at 400 GPa has 1.2."""


def neighbors(atoms: Atoms, r_max: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    r"""All pairs with :math:`0 < |r_j + s - r_i| < r_{max}`, images of an atom itself included.

    Args:
        atoms: any mix of periodic and open directions; the cell vectors of open ones do not matter.
        r_max: cutoff in Å.

    Returns:
        edge_index (2, e): sources j, then targets i; sorted by target, then source, then image.
        edge_shift (e, 3): s, the Cartesian translation of the source's image in Å.

    Raises:
        ValueError: the cell vectors along the periodic directions do not span a cell, the cell is far too small for
            its atoms, or two atoms are at the same place.
    """
    periodic, cell = atoms.pbc, atoms.cell.array
    if np.linalg.matrix_rank(cell[periodic]) < periodic.sum():
        raise ValueError(f"periodic, but the cell vectors do not span a cell: {cell.tolist()}")
    volume = abs(np.linalg.det(cell))
    if periodic.all() and volume < SMALLEST * len(atoms):
        raise ValueError(f"the cell has {volume:.2g} Å^3 for {len(atoms)} atoms: check data.units.length")
    search = NeighborList(cutoff=r_max, full_list=True, n_threads=1)
    target, source, image = search.compute(atoms.positions, _completed(cell, periodic), periodic, "ijS")
    order = np.lexsort((*image.T[::-1], source, target))
    edge_index = np.stack([source[order], target[order]]).astype(np.int64)
    shift = image[order] @ cell
    distances = np.linalg.norm(atoms.positions[edge_index[0]] + shift - atoms.positions[edge_index[1]], axis=1)
    if len(distances) and distances.min() < CLOSEST:
        j, i = edge_index[:, distances.argmin()].tolist()
        raise ValueError(f"atoms {i} and {j} are at the same place: {distances.min():.2g} Å from each other")
    return edge_index, shift


def _completed(cell: NDArray[np.float64], periodic: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The cell with its open directions replaced by unit vectors orthogonal to the periodic ones, so that it has a
    volume whatever the file holds there."""
    complement = np.linalg.svd(cell[periodic])[2][periodic.sum() :] if periodic.any() else np.eye(3)
    completed = cell.copy()
    completed[~periodic] = complement
    return completed

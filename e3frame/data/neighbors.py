"""Neighbour lists, by vesin."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from vesin import NeighborList


def neighbors(atoms: Atoms, r_max: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    r"""All pairs with :math:`0 < |r_j + s - r_i| < r_{max}`, images of an atom itself included.

    Args:
        atoms: any mix of periodic and open directions; the cell vectors of open ones do not matter.
        r_max: cutoff in Å.

    Returns:
        edge_index (2, e): sources j, then targets i; sorted by target, then source, then image.
        edge_shift (e, 3): s, the Cartesian translation of the source's image in Å.

    Raises:
        ValueError: the cell vectors along the periodic directions do not span a cell.
    """
    periodic, cell = atoms.pbc, atoms.cell.array
    if np.linalg.matrix_rank(cell[periodic]) < periodic.sum():
        raise ValueError(f"periodic, but the cell vectors do not span a cell: {cell.tolist()}")
    search = NeighborList(cutoff=r_max, full_list=True, n_threads=1)
    target, source, image = search.compute(atoms.positions, _completed(cell, periodic), periodic, "ijS")
    order = np.lexsort((*image.T[::-1], source, target))
    edge_index = np.stack([source[order], target[order]]).astype(np.int64)
    return edge_index, image[order] @ cell


def _completed(cell: NDArray[np.float64], periodic: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The cell with its open directions replaced by unit vectors orthogonal to the periodic ones, so that it has a
    volume whatever the file holds there."""
    complement = np.linalg.svd(cell[periodic])[2][periodic.sum() :] if periodic.any() else np.eye(3)
    completed = cell.copy()
    completed[~periodic] = complement
    return completed

"""Neighbour lists, by a tree of the atoms and of the images that they can see: the cost does not depend on how far
apart the atoms are, nor on the shape of the cell."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce
from numpy.typing import NDArray
from scipy.spatial import cKDTree

CLOSEST = 0.05
"""Distance in Å below which two atoms are taken for one that is listed twice."""

SMALLEST = 0.1
"""Volume in Å^3 that an atom of a crystal has at the very least; solid hydrogen at 400 GPa has 1.2."""

FARTHEST = 1e11
"""Distance in Å from the origin within which float64 resolves positions to 2e-5 Å."""

MOST_NEIGHBORS, MOST_EDGES, MOST_IMAGES = 5_000, 100_000_000, 10_000_000
"""Neighbours of an atom on average, edges, and images of atoms, beyond which something is wrong; copper has 2,900
neighbours within 20 Å."""

CHECKED = 4_000_000
"""Possible pairs beyond which the edges are counted before they are listed."""


class _Seen(NamedTuple):
    """Atoms and their images near the cell: number of the atom, position in Å, and translation in cell vectors."""

    atom: NDArray[np.int64]
    position: NDArray[np.float64]
    image: NDArray[np.int64]


def neighbors(atoms: Atoms, r_max: float, closest: float = CLOSEST) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    r"""All pairs with :math:`0 < |r_j - r_i + s| < r_{max}`, images of an atom itself included.

    Args:
        atoms: any mix of periodic and open directions; the cell vectors of open ones do not matter.
        r_max: cutoff in Å.
        closest: distance in Å below which two atoms are at the same place.

    Returns:
        edge_index (2, e): sources j, then targets i; sorted by target, then source, then image.
        edge_shift (e, 3): s, the Cartesian translation of the source's image in Å.

    Raises:
        ValueError: a position or a cell is not finite or too large, the cell vectors along the periodic directions do
            not span a cell, the cell is far too small for its atoms or for ``r_max``, or two atoms are at the same
            place.
    """
    require_numbers(atoms)
    positions, vectors = atoms.positions, atoms.cell.array[atoms.pbc]
    reduction = _reduction(vectors.tobytes(), len(vectors))
    reduced = reduction @ vectors
    _require_room(atoms, reduced, closest)
    inverse = np.linalg.pinv(reduced)
    home = np.floor(positions @ inverse)
    inside = positions - home @ reduced
    # Rounding must not lose a pair here; what is too far is left out below, by the vectors that a model computes.
    reach = r_max + 1e-9 + 16 * np.finfo(np.float64).eps * float(np.abs(positions).max(initial=0.0))
    seen = _images(inside, reduced, inverse, reach)
    target, row = _within(inside, seen, reach, closest)
    source = seen.atom[row]
    image = (seen.image[row] + home[target] - home[source]) @ reduction
    shift = image @ vectors
    vector = positions[source] - positions[target] + shift
    distance = np.sqrt(np.einsum("ei,ei->e", vector, vector))
    kept = np.flatnonzero((distance < r_max) & ((source != target) | (distance > 0)))
    if len(kept) and distance[kept].min() < closest:
        nearest = kept[distance[kept].argmin()]
        raise _same_place(source[nearest], target[nearest], distance[nearest])
    order = kept[_order(target[kept], source[kept], *image[kept].T)]
    return np.stack([source[order], target[order]]), shift[order]


def _order(*keys: NDArray[Any]) -> NDArray[np.int64]:
    """Order that sorts rows of integers by their first key, then by the second, and so on."""
    if not len(keys[0]):
        return np.zeros(0, dtype=np.int64)
    lowest = [int(key.min()) for key in keys]
    sizes = [int(key.max()) - low + 1 for key, low in zip(keys, lowest, strict=True)]
    if prod(sizes) >= 2**62:
        return np.lexsort(keys[::-1])
    code = np.zeros(len(keys[0]), dtype=np.int64)  # one number for all keys is sorted much faster
    for key, low, size in zip(keys, lowest, sizes, strict=True):
        code = code * size + (key.astype(np.int64) - low)
    return np.argsort(code)


def require_numbers(atoms: Atoms) -> None:
    """Raise ValueError where a position or a cell is not finite, or too large for exact differences."""
    positions, cell = atoms.positions, atoms.cell.array
    if not np.isfinite(positions).all():
        atom = int(np.argwhere(~np.isfinite(positions))[0, 0])
        raise ValueError(f"the position of atom {atom} is not finite: {positions[atom].tolist()}")
    if not np.isfinite(cell).all():
        raise ValueError(f"the cell is not finite: {cell.tolist()}")
    if np.abs(positions).max(initial=0.0) > FARTHEST:
        atom = int(np.abs(positions).max(1).argmax())
        raise ValueError(
            f"the position of atom {atom} is too far from the origin for exact distances: {positions[atom].tolist()} Å"
        )
    if np.abs(cell).max(initial=0.0) > FARTHEST:
        raise ValueError(f"the cell is too large for exact distances: {cell.tolist()} Å")


@lru_cache(64)
def _reduction(vectors: bytes, count: int) -> NDArray[np.float64]:
    """(count, count) integers that combine the periodic cell vectors into the shortest ones that span the same lattice.

    However skewed the cell is, few images are then near it.
    """
    given = np.frombuffer(vectors).reshape(count, 3)
    longest = np.linalg.norm(given, axis=1).max(initial=0.0)
    padded = np.zeros((3, 3))
    padded[:count] = given / longest if longest > 0 else given
    try:
        with np.errstate(all="ignore"):
            combined = minkowski_reduce(padded, np.arange(3) < count)[1][:count, :count]
    except (RuntimeError, ValueError, OverflowError):  # what ASE makes of vectors that are not independent
        combined = np.eye(count)
    if np.linalg.matrix_rank(combined @ given) < count:
        raise ValueError(f"periodic, but the cell vectors do not span a cell: {given.tolist()}")
    return combined.astype(np.float64)


def _require_room(atoms: Atoms, reduced: NDArray[np.float64], closest: float) -> None:
    if len(reduced) == 3:
        volume = abs(np.linalg.det(reduced))
        if volume < SMALLEST * len(atoms):
            raise ValueError(f"the cell has {volume:.2g} Å^3 for {len(atoms)} atoms: check data.units.length")
    shortest = np.linalg.norm(reduced, axis=1).min(initial=np.inf)
    if len(atoms) and shortest < closest:
        raise ValueError(f"each atom is {shortest:.2g} Å from its own image: check data.units.length")


def _images(
    inside: NDArray[np.float64], reduced: NDArray[np.float64], inverse: NDArray[np.float64], reach: float
) -> _Seen:
    """Atoms in the cell, and their images within ``reach`` of the smallest box around the atoms."""
    seen = _Seen(np.arange(len(inside)), inside, np.zeros((len(inside), len(reduced)), dtype=np.int64))
    if not len(inside):
        return seen
    for axis, vector in enumerate(reduced):
        place = seen.position @ inverse[:, axis]
        own = inside @ inverse[:, axis]
        margin = reach * float(np.linalg.norm(inverse[:, axis]))
        first = np.ceil(own.min() - margin - place)
        count = np.maximum(np.floor(own.max() + margin - place) - first + 1, 0)
        if count.sum() > len(inside) + MOST_IMAGES:
            raise ValueError(f"the cell is far too small for r_max = {reach:.4g} Å: check data.units.length")
        count = count.astype(np.int64)
        row = np.repeat(np.arange(len(place)), count)
        steps = first[row] + np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        image = seen.image[row]
        image[:, axis] = steps
        seen = _Seen(seen.atom[row], seen.position[row] + steps[:, None] * vector, image)
    return seen


def _within(
    inside: NDArray[np.float64], seen: _Seen, reach: float, closest: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Atoms, and the rows of ``seen`` within ``reach`` of them; each atom also finds itself."""
    if not len(inside):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    tree = cKDTree(inside)
    others = cKDTree(seen.position) if seen.image.shape[1] else tree
    if len(inside) * len(seen.atom) > CHECKED:
        count = int(tree.count_neighbors(others, reach))
        if count > 100 * len(inside):
            _require_apart(inside, closest)
        if count > min(MOST_NEIGHBORS * len(inside), MOST_EDGES):
            each = count / len(inside)
            raise ValueError(
                f"{each:.0f} neighbours within r_max = {reach:.4g} Å of each atom, {count:.2g} in all: lower r_max, or "
                "check data.units.length"
            )
    found = tree.sparse_distance_matrix(others, reach, output_type="ndarray")
    return found["i"], found["j"]


def _require_apart(inside: NDArray[np.float64], closest: float) -> None:
    """Raise ValueError if two atoms are in one cube smaller than ``closest``, without looking at all their pairs."""
    if closest <= 0:
        return
    cube = np.floor(inside * (np.sqrt(3) / closest))
    order = np.lexsort(cube.T)
    same = np.flatnonzero((cube[order[1:]] == cube[order[:-1]]).all(1))
    if len(same):
        i, j = order[same[0] : same[0] + 2]
        raise _same_place(i, j, float(np.linalg.norm(inside[i] - inside[j])))


def _same_place(one: int, other: int, distance: float) -> ValueError:
    i, j = sorted((int(one), int(other)))
    return ValueError(f"atoms {i} and {j} are at the same place: {distance:.2g} Å from each other")

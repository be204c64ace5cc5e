"""Neighbour lists from a k-d tree of atoms and their periodic images. The cost does not depend on the extent of the
atoms or the shape of the cell."""

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
"""Distance in Å below which two atoms count as a duplicate."""

SMALLEST = 0.1
"""Smallest plausible volume per atom of a crystal in Å^3; solid hydrogen at 400 GPa has 1.2."""

FARTHEST = 1e11
"""Distance in Å from the origin within which float64 resolves positions to 2e-5 Å."""

MOST_NEIGHBORS, MOST_EDGES, MOST_IMAGES = 5_000, 100_000_000, 10_000_000
"""Largest mean number of neighbours, number of edges, and number of images; copper has 2,900 neighbours within 20 Å."""

CHECKED = 4_000_000
"""Number of possible pairs above which the edges are counted before they are listed."""


class _Seen(NamedTuple):
    """Atoms and their images near the cell: index of the atom, position in Å, and integer translation."""

    atom: NDArray[np.int64]
    position: NDArray[np.float64]
    image: NDArray[np.int64]


def neighbors(atoms: Atoms, r_max: float, closest: float = CLOSEST) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    r"""Find all pairs with :math:`0 < |r_j - r_i + s| < r_{max}`, including pairs of an atom and its own images.

    Args:
        atoms: any mix of periodic and non-periodic directions; the cell vectors of the latter are ignored.
        r_max: cutoff in Å.
        closest: distance in Å below which two atoms are at the same place.

    Returns:
        edge_index (2, e): sources j, then targets i; sorted by target, then source, then image.
        edge_shift (e, 3): s, the Cartesian translation of the source's image in Å.

    Raises:
        ValueError: a position or a cell is not finite or too large, the cell vectors along the periodic directions are
            linearly dependent, the cell is far too small for its atoms or for ``r_max``, or two atoms are at the same
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
    # Rounding must not lose a pair here; pairs that are too far apart are removed below, by the vectors of the model.
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
    """Return the permutation that sorts rows of integers by their first key, then by the second, and so on."""
    if not len(keys[0]):
        return np.zeros(0, dtype=np.int64)
    lowest = [int(key.min()) for key in keys]
    sizes = [int(key.max()) - low + 1 for key, low in zip(keys, lowest, strict=True)]
    if prod(sizes) >= 2**62:
        return np.lexsort(keys[::-1])
    code = np.zeros(len(keys[0]), dtype=np.int64)  # sorting one number for all keys is much faster
    for key, low, size in zip(keys, lowest, sizes, strict=True):
        code = code * size + (key.astype(np.int64) - low)
    return np.argsort(code)


def require_numbers(atoms: Atoms) -> None:
    """Raise ValueError if a position or a cell is not finite, or too large for exact differences."""
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
    """Return integers (count, count) that combine the periodic cell vectors into the shortest ones of the lattice.

    With these, few images are near the cell, however skewed it is.
    """
    given = np.frombuffer(vectors).reshape(count, 3)
    longest = np.linalg.norm(given, axis=1).max(initial=0.0)
    padded = np.zeros((3, 3))
    padded[:count] = given / longest if longest > 0 else given
    try:
        with np.errstate(all="ignore"):
            combined = minkowski_reduce(padded, np.arange(3) < count)[1][:count, :count]
    except (RuntimeError, ValueError, OverflowError):  # ASE raises these for linearly dependent vectors
        combined = np.eye(count)
    if np.linalg.matrix_rank(combined @ given) < count:
        raise ValueError(f"the frame is periodic, but its cell vectors are linearly dependent: {given.tolist()}")
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
    """Return the atoms, wrapped into the cell, and their images within ``reach`` of the box around them."""
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
    """Return pairs of an atom and a row of ``seen`` within ``reach``, including the atom itself."""
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
    """Raise ValueError if two atoms are closer than ``closest``, using a grid of small cubes instead of all pairs."""
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

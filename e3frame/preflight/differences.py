r"""Energy differences between similar frames, and the work of forces and stresses between them.

The trapezoidal rule :math:`E_2 - E_1 \approx -\frac{1}{2} \sum_a (F_{1a} + F_{2a}) \cdot \Delta x_a + \frac{1}{2} (V_1
\sigma_1 + V_2 \sigma_2) : \epsilon` is exact in a harmonic potential. So frames need not be as close as for a
derivative: consecutive frames of a trajectory suffice, and so do the most similar of some hundred random frames.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from e3frame.data.pipeline.graphs import Graph

FAR = 0.45
"""Largest displacement of an atom, in Å, between two frames that are compared."""
CLOSEST = 0.3
"""Fraction of the pairs that is used, the closest ones."""
MIN_PAIRS = 20
MAX_FRAMES = 500
"""Largest number of frames with the same atoms that are searched for similar pairs."""
OUTLIER = 30.0
"""Multiple of the median energy difference above which a pair is dropped, because one failed calculation would outweigh
all others."""
MAX_DISTANCES = 3_000
BULK = 3.0
"""Length in Å that converts the largest component of a strain into a displacement."""


_Row = tuple[float, float, NDArray[np.float64], NDArray[np.float64], float]


class Differences(NamedTuple):
    """Differences between ``n`` pairs of frames.

    Attributes:
        energy: (n,) energy of the second frame minus that of the first, eV.
        by_forces: (n,) the same difference from the work of the forces; zero if these are not given.
        virial: (n, 3, 3) volume times stress, eV: each component does work on its strain; zero if not given.
        strain: (n, 3, 3) strain of the cell, symmetric.
        distance: (n,) largest displacement of an atom, with the strain converted to a length, Å.
    """

    energy: NDArray[np.float64]
    by_forces: NDArray[np.float64]
    virial: NDArray[np.float64]
    strain: NDArray[np.float64]
    distance: NDArray[np.float64]

    def where(self, chosen: NDArray[Any]) -> Differences:
        return Differences(*(values[chosen] for values in self))


def differences(
    graphs: Sequence[Graph], energy: str, forces: str | None = None, stress: str | None = None
) -> Differences | None:
    """Compare the closest pairs of frames; None if there are too few of them."""
    members: dict[bytes, list[int]] = defaultdict(list)
    for k, graph in enumerate(graphs):
        periodic = bool(graph.pbc.all())
        if len(graph.z) > 1 and (periodic or not bool(graph.pbc.any())):
            members[bytes([periodic]) + graph.z.numpy().tobytes()].append(k)
    rows = [
        row
        for group in members.values()
        for i, j in _pairs([graphs[k] for k in group[:: -(-len(group) // MAX_FRAMES)]])
        if (row := _difference(i, j, energy, forces, stress)) is not None
    ]
    if len(rows) < MIN_PAIRS:
        return None
    found = Differences(*map(np.array, zip(*rows, strict=True)))
    size = np.abs(found.energy)
    found = found.where(size <= OUTLIER * max(float(np.median(size)), 1e-12))
    number = max(MIN_PAIRS, int(CLOSEST * len(rows)))
    return found.where(np.argsort(found.distance, kind="stable")[:number])


def _pairs(graphs: Sequence[Graph]) -> Iterator[tuple[Graph, Graph]]:
    """Yield each frame with the next one, and with the most similar one."""
    if len(graphs) < 2:
        return
    shape = _shapes(graphs)
    square = np.square(shape).sum(1)
    distance = square[:, None] + square - 2 * shape @ shape.T
    distance[distance < 1e-9 * square.max() + 1e-12] = np.inf  # the frame itself, and copies
    alike = {(min(k, int(j)), max(k, int(j))) for k, j in enumerate(distance.argmin(1))}
    for i, j in sorted(alike | set(pairwise(range(len(graphs))))):
        yield graphs[i], graphs[j]


def _shapes(graphs: Sequence[Graph]) -> NDArray[np.float64]:
    """Return a row of numbers per frame: rows of similar frames with the same atoms are close."""
    positions = np.stack([graph.pos.numpy() for graph in graphs])
    if bool(graphs[0].pbc.all()):
        cells = np.stack([graph.cell[0].numpy() for graph in graphs])
        moved = positions @ np.linalg.inv(cells)
        moved = moved - moved[0]
        moved = (moved - np.round(moved)) @ cells.mean(0)
        moved -= moved.mean(1, keepdims=True)
        strain = BULK * (np.linalg.inv(cells[0]) @ cells)
        return np.concatenate([moved.reshape(len(graphs), -1), strain.reshape(len(graphs), -1)], 1)
    i, j = np.triu_indices(positions.shape[1], 1)
    step = -(-len(i) // MAX_DISTANCES)
    return np.linalg.norm(positions[:, i[::step]] - positions[:, j[::step]], axis=2)


def _difference(one: Graph, other: Graph, energy: str, forces: str | None, stress: str | None) -> _Row | None:
    """Return a row of :class:`Differences`; None if the two frames are equal, or too far from each other."""
    zero = np.zeros((3, 3))
    if bool(one.pbc.all()):
        cell, next_cell = one.cell[0].numpy(), other.cell[0].numpy()
        middle = (cell + next_cell) / 2
        moved = other.pos.numpy() @ np.linalg.inv(next_cell) - one.pos.numpy() @ np.linalg.inv(cell)
        moved = (moved - np.round(moved)) @ middle
        moved -= moved.mean(0)
        strain, turn = np.linalg.solve(middle, next_cell - cell), np.eye(3)
    else:
        mine, next_ = one.pos.numpy(), other.pos.numpy()
        mine, next_ = mine - mine.mean(0), next_ - next_.mean(0)
        strain, turn = zero, _turn(mine, next_)
        moved = next_ @ turn - mine
    distance = np.linalg.norm(moved, axis=1).max() + BULK * np.abs(strain).max()
    if distance > FAR or distance < 1e-6:
        return None
    by_forces, virial = 0.0, zero
    if forces is not None:
        by_forces = -0.5 * float(((one[forces].numpy() + other[forces].numpy() @ turn) * moved).sum())
    if stress is not None and strain.any():
        first, second = (g[stress][0].numpy() * float(g.cell[0].det().abs()) for g in (one, other))
        virial = (first + second) / 2
    return float(other[energy] - one[energy]), by_forces, virial, (strain + strain.T) / 2, distance


def _turn(fixed: NDArray[np.float64], turned: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation Q for which ``turned`` @ Q is closest to ``fixed`` (Kabsch 1976, Acta Cryst. A32, 922)."""
    u, _, vt = np.linalg.svd(turned.T @ fixed)
    return u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt

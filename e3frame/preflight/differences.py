r"""Differences of energies between frames that are nearly the same, and the work of forces and stresses between them.

The trapezoidal rule :math:`E_2 - E_1 \approx -\frac{1}{2} \sum_a (F_{1a} + F_{2a}) \cdot \Delta x_a + \frac{1}{2} (V_1
\sigma_1 + V_2 \sigma_2) : \epsilon` is exact in a harmonic potential, so that frames need not be close enough for a
tangent: consecutive frames of a trajectory will do, and so will the most alike of some hundred random ones.
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
"""Å: two frames of which some atom has moved by more are not compared."""
CLOSEST = 0.3
"""Part of the pairs that is used, the closest ones."""
MIN_PAIRS = 20
MAX_FRAMES = 500
"""Frames of one kind among which the most similar are sought."""
OUTLIER = 30.0
"""Times the median difference: larger ones are left out, as a calculation that has failed would outweigh all others."""
MAX_DISTANCES = 3_000
BULK = 3.0
"""Å: a strain counts as this times its largest component."""


_Row = tuple[float, float, NDArray[np.float64], NDArray[np.float64], float]


class Differences(NamedTuple):
    """Differences between ``n`` pairs of frames.

    Attributes:
        energy: (n,) of the second above the first, eV.
        by_forces: (n,) the same from the work of the forces; zero where these are not known.
        virial: (n, 3, 3) volume times stress, of which each component does work on its strain; zero where not known.
        strain: (n, 3, 3) of the cell, symmetric.
        distance: (n,) Å.
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
    """Each frame with the next, and with the one that is most like it."""
    if len(graphs) < 2:
        return
    shape = _shapes(graphs)
    square = np.square(shape).sum(1)
    distance = square[:, None] + square - 2 * shape @ shape.T
    distance[distance < 1e-9 * square.max() + 1e-12] = np.inf  # itself, and copies
    alike = {(min(k, int(j)), max(k, int(j))) for k, j in enumerate(distance.argmin(1))}
    for i, j in sorted(alike | set(pairwise(range(len(graphs))))):
        yield graphs[i], graphs[j]


def _shapes(graphs: Sequence[Graph]) -> NDArray[np.float64]:
    """Rows that are near each other where frames with the same atoms are."""
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
    """A row of :class:`Differences`; None where the two are the same, or too far from each other."""
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
    """The rotation Q for which ``turned`` @ Q is nearest to ``fixed`` (Kabsch 1976, Acta Cryst. A32, 922)."""
    u, _, vt = np.linalg.svd(turned.T @ fixed)
    return u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt

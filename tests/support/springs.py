"""Molecules of springs: energies and forces of the right size, in eV and Å, and each other's derivative."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

STIFFNESS = 30.0
"""eV/Å^2, of a bond."""
FREE = {"H": -13.6, "C": -1030.0, "N": -1485.0, "O": -2042.0, "S": -10_830.0, "F": -2713.0}
"""Energies of the free atoms in eV, roughly."""


def springs(name: str, count: int, seed: int = 0, step: float = 0.05, totals: bool = True) -> list[Atoms]:
    """``count`` distorted molecules, the pairs of whose atoms pull with the stiffness over the square of their distance
    at rest.

    Args:
        step: mean shift of each coordinate in Å.
        totals: whether energies contain those of the free atoms.
    """
    rng, rest = np.random.default_rng(seed), molecule(name)
    i, j = np.triu_indices(len(rest), 1)
    length = np.linalg.norm(rest.positions[i] - rest.positions[j], axis=1)
    stiffness = STIFFNESS / length**2
    base = sum(FREE[symbol] for symbol in rest.symbols) if totals else 0.0
    made = []
    for _ in range(count):
        atoms = rest.copy()
        atoms.positions += step * rng.normal(size=atoms.positions.shape)
        vectors = atoms.positions[i] - atoms.positions[j]
        distance = np.linalg.norm(vectors, axis=1)
        pull = (stiffness * (distance - length) / distance)[:, None] * vectors
        forces = np.zeros_like(atoms.positions)
        np.add.at(forces, i, -pull)
        np.add.at(forces, j, pull)
        energy = base - 4.0 * len(atoms) + 0.5 * float(stiffness @ (distance - length) ** 2)
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        made.append(atoms)
    return made

"""Make a small periodic set with energies, forces and stresses: Al, Ni and Cu and their alloys, by ASE's EMT potential.

    python scripts/make_metals.py metals.xyz

Cells of fcc and of the CsCl and L1_2 orders, of one to eight atoms (so small that atoms see their own images), strained
by up to 4 % and rattled. Everything follows from the seed. EMT: Jacobsen, Stoltze, Nørskov 1996, Surf. Sci. 366, 394.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.spacegroup import crystal

LATTICE = {"Al": 4.05, "Ni": 3.52, "Cu": 3.61}
"""Lattice constants of the elements in Å; those of alloys are their means."""


def prototypes() -> Iterator[Atoms]:
    """The cells before strain and displacements."""
    for symbol, a in LATTICE.items():
        yield bulk(symbol, "fcc", a=a)
        yield bulk(symbol, "fcc", a=a, cubic=True)
        yield bulk(symbol, "fcc", a=a).repeat(2)
    for first, second in (("Al", "Ni"), ("Al", "Cu"), ("Ni", "Cu")):
        mean = (LATTICE[first] + LATTICE[second]) / 2
        yield bulk(first + second, "cesiumchloride", a=0.8 * mean).repeat((2, 1, 1))
        for corner, face in ((first, second), (second, first)):
            a = (LATTICE[corner] + 3 * LATTICE[face]) / 4
            yield crystal([corner, face], [(0, 0, 0), (0, 0.5, 0.5)], spacegroup=221, cellpar=[a, a, a, 90, 90, 90])


def frames(count: int, seed: int) -> Iterator[Atoms]:
    """Labelled frames, cells in turn."""
    random = np.random.default_rng(seed)
    cells = list(prototypes())
    for number in range(count):
        atoms = cells[number % len(cells)].copy()
        strain = random.uniform(-0.04, 0.04, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
        atoms.positions += random.normal(0.0, 0.08, atoms.positions.shape)
        atoms.info.clear()
        atoms.arrays.pop("spacegroup_kinds", None)  # ASE's bookkeeping, of no use here
        atoms.calc = EMT()
        energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=stress)
        yield atoms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write(options.out, list(frames(options.frames, options.seed)), format="extxyz")
    print(f"{options.frames} frames written to {options.out}")


if __name__ == "__main__":
    main()

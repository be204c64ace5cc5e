"""Energies, forces and stresses of any matter, each other's derivatives, for the tests of what is said of data."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Potential(NamedTuple):
    """Morse pairs, angles between neighbours and screened charges, with what a metal's electrons add.

    Attributes:
        depth: of a bond, eV.
        steep: of a bond, 1/Å.
        stretch: length of a bond at rest, in sums of covalent radii.
        angles: eV, against (cos + 1/3)^2.
        charge: of the lighter elements positive, of the heavier negative, in e.
        band: eV, of the square root of the density.
        dispersion: eV Å^6.
        reach: Å, beyond which nothing is felt.
    """

    depth: float = 1.0
    steep: float = 1.6
    stretch: float = 1.0
    angles: float = 0.0
    charge: float = 0.0
    band: float = 0.0
    dispersion: float = 0.0
    reach: float = 5.0

    def __call__(self, atoms: Atoms) -> tuple[float, Array, Array]:
        """Energy in eV, forces in eV/Å, stress in eV/Å^3 (zero without a full cell)."""
        i, j, shift = neighbor_list("ijS", atoms, self.reach)
        first, second, shift = torch.from_numpy(i), torch.from_numpy(j), torch.from_numpy(shift @ atoms.cell.array)
        positions = torch.tensor(atoms.positions, requires_grad=True)
        strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
        vectors = positions[second] - positions[first] + shift
        energy = self._energy(atoms, first, second, vectors + vectors @ (strain + strain.T) / 2)
        gradient, work = torch.autograd.grad(energy, (positions, strain), allow_unused=True)
        forces = np.zeros((len(atoms), 3)) if gradient is None else -gradient.numpy()
        stress = np.zeros((3, 3)) if work is None or not atoms.pbc.all() else work.numpy() / atoms.get_volume()
        return float(energy.detach()), forces, stress

    def _energy(self, atoms: Atoms, i: torch.Tensor, j: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        if not len(i):
            return vectors.sum()
        r, z = vectors.norm(dim=1), torch.from_numpy(atoms.numbers)
        fade = torch.cos(torch.pi * r / (2 * self.reach)) ** 2
        radii = torch.from_numpy(covalent_radii)[z]
        rest = self.stretch * (radii[i] + radii[j])
        x = torch.exp(-self.steep * (r - rest))
        energy = (0.5 * self.depth * (x**2 - 2 * x) * fade).sum()
        energy = energy - (0.5 * self.dispersion / (r**6 + rest**6) * fade).sum()
        sign = torch.sign(z - z.double().mean())
        energy = energy + (0.5 * 14.4 * self.charge**2 * sign[i] * sign[j] * torch.exp(-r / 3) / r * fade).sum()
        if self.band:
            density = torch.zeros(len(atoms), dtype=torch.float64).index_add(0, i, x**2 * fade)
            energy = energy - self.band * (density + 1e-3).sqrt().sum()
        if self.angles:
            near = torch.where(r < 1.35 * rest, torch.cos(torch.pi * r / (2.7 * rest)) ** 2, 0.0)
            kept = near.nonzero().flatten()
            order = kept[torch.argsort(i[kept], stable=True)]
            counts = torch.bincount(i[order], minlength=len(atoms))
            for atom, group in enumerate(order.split(counts.tolist())):
                if counts[atom] > 1:
                    u = vectors[group] / r[group, None]
                    bend = (u @ u.T + 1 / 3) ** 2 * near[group, None] * near[group]
                    energy = energy + 0.5 * self.angles * (bend.sum() - bend.diagonal().sum())
        return energy

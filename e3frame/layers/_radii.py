"""Covalent radii of the species of a model."""

from __future__ import annotations

from e3frame.spec.elements import ATOMIC_NUMBERS
from e3frame.spec.layer import Scope


def covalent_radii(scope: Scope) -> list[float]:
    """Return the covalent radius of each species in Å, from the table of ASE (Cordero et al. 2008; 0.2 if unknown)."""
    from ase.data import covalent_radii

    assert scope.species is not None
    return [float(covalent_radii[ATOMIC_NUMBERS[symbol]]) for symbol in scope.species]

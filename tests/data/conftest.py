from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from support.sample import graphs, splits

__all__ = ["graphs", "splits"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a cache of its own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("E3FRAME_CACHE", str(folder))
    return folder


@pytest.fixture
def frames() -> Callable[..., list[Atoms]]:
    """``frames(n, name, seed)``: distorted molecules with made-up energies and forces."""

    def make(count: int = 10, name: str = "CH3OH", seed: int = 0) -> list[Atoms]:
        rng = np.random.default_rng(seed)
        made = []
        for _ in range(count):
            atoms = molecule(name)
            atoms.positions += 0.05 * rng.normal(size=atoms.positions.shape)
            atoms.calc = SinglePointCalculator(
                atoms, energy=-100.0 + rng.normal(), forces=rng.normal(size=atoms.positions.shape)
            )
            made.append(atoms)
        return made

    return make


@pytest.fixture
def xyz(tmp_path: Path, frames: Callable[..., list[Atoms]]) -> Path:
    """Ten frames of methanol."""
    path = tmp_path / "train.xyz"
    write(path, frames(), format="extxyz")
    return path

"""The periodic set that a script makes."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import numpy as np
import pytest
from ase.calculators.emt import EMT

from e3frame.compose import config_folder


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_metals", config_folder().parent / "scripts" / "make_metals.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_frames_follow_from_the_seed(script: ModuleType) -> None:
    first, again, other = (list(script.frames(20, seed)) for seed in (0, 0, 1))
    assert all((a.positions == b.positions).all() for a, b in zip(first, again, strict=True))
    assert all((a.positions != b.positions).any() for a, b in zip(first, other, strict=True))
    assert {symbol for atoms in first for symbol in atoms.symbols} == {"Al", "Ni", "Cu"}
    assert all(atoms.pbc.all() for atoms in first)
    assert min(len(atoms) for atoms in first) == 1
    assert max(len(atoms) for atoms in first) == 8
    assert len({atoms.get_volume() for atoms in first}) == 20


def test_labels_are_those_of_emt(script: ModuleType) -> None:
    for atoms in script.frames(3, 2):
        labels = dict(atoms.calc.results)
        atoms.calc = EMT()
        assert labels["energy"] == atoms.get_potential_energy()
        np.testing.assert_array_equal(labels["forces"], atoms.get_forces())
        np.testing.assert_array_equal(labels["stress"], atoms.get_stress())
        assert np.abs(labels["stress"]).max() > 1e-4

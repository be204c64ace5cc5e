"""Small saved models of an energy, and structures for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from e3frame.inference.saved import save_model
from e3frame.model import ModelSpec
from e3frame.network import Model
from e3frame.spec.validate import validate

LAYERS: dict[str, Any] = {
    "species": {"kind": "species_embedding", "irreps_out": "6x0e"},
    "charge": {"kind": "graph_to_nodes", "of": "total_charge"},
    "field_": {"kind": "graph_to_nodes", "of": "field"},
    "start": {"kind": "concatenate", "of": ["species", "charge", "field_"]},
    "edge_sh": {"kind": "spherical_harmonics", "irreps_out": "0e + 1o"},
    "radial": {"kind": "radial_basis", "num_basis": 5},
    "conv": {
        "kind": "convolution",
        "of": "start",
        "irreps_out": "gate(8x0e + 4x1o)",
        "radial_mlp": [8],
        "avg_num_neighbors": 4.0,
    },
    "gate": {"kind": "gate"},
    "readout": {"kind": "linear", "irreps_out": "0e"},
}
MODEL: dict[str, Any] = {
    "r_max": 4.0,
    "species": ["H", "C", "O"],
    "inputs": {"total_charge": "0e", "field": "1o"},
    "layers": LAYERS,
    "outputs": {"energy": {"kind": "sum", "of": "readout", "per_species_scale_shift": {"scale": 2.0, "shift": -5.0}}},
}


def saved(path: Path, changes: dict[str, Any] | None = None) -> Path:
    torch.manual_seed(0)
    return save_model(Model(validate(ModelSpec, MODEL | (changes or {}))), path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An energy of the structure, a charge and a field, which nobody asked for forces or a stress."""
    return saved(tmp_path_factory.mktemp("models") / "model.safetensors")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An energy that reads nothing but the structure."""
    layers = {name: layer for name, layer in LAYERS.items() if name not in ("charge", "field_", "start")}
    changes = {"inputs": {}, "layers": layers | {"conv": {**layers["conv"], "of": "species"}}}
    return saved(tmp_path_factory.mktemp("models") / "plain.safetensors", changes)


def water(charge: Any = 1.0, field: Any = None) -> Atoms:
    atoms = molecule("H2O")
    atoms.set_cell([6.0, 6.0, 6.0])
    atoms.info = {"total_charge": charge, "field": np.array([0.1, 0.2, 0.3]) if field is None else field}
    return atoms


def crystal() -> Atoms:
    atoms = bulk("C", "diamond", a=3.4, cubic=False).repeat((2, 1, 1))
    atoms.symbols[1] = "O"
    shear = np.array([[0.0, 0.3, 0.1], [0.0, 0.1, 0.0], [-0.1, 0.0, 0.2]])
    atoms.set_cell(atoms.cell.array + shear, scale_atoms=True)
    atoms.rattle(0.1, seed=1)
    return atoms

"""What a model in float32 gives does not depend on where a structure stands."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import add_adsorbate, fcc111, molecule
from torch import Tensor
from torch_geometric.data import Batch

from e3frame.compose import config_folder, read_yaml
from e3frame.data.pipeline.graphs import make_graph, model_input
from e3frame.layers.strain_gradient import StrainGradient
from e3frame.model import ModelSpec
from e3frame.network import Model
from e3frame.spec.statistics import Statistics

PRESETS = sorted(path.stem for path in (config_folder() / "model").glob("*.yaml"))
SPECIES = ("H", "C", "O", "Cu")
R_MAX = 3.5
SHIFTS = (0.0, 100.0, 1e4, 1e6)
# Vectors of edges are rounded to float32 whatever the origin; at 1e6 Å float64 itself is spaced by 1e-10 Å, which turns
# some of these roundings the other way. What follows is of the size of rounding, summed over layers and edges.
BOUND = 100 * torch.finfo(torch.float32).eps


@functools.cache
def preset(name: str) -> Model:
    """In float32, with a stress where there is an energy."""
    spec = read_yaml(config_folder() / "model" / f"{name}.yaml").parse(ModelSpec)
    if "forces" in spec.outputs:
        spec = spec.replace(outputs={**spec.outputs, "stress": StrainGradient(of="energy")})
    if "dipole" in spec.outputs:  # that of an ion; dipole_size has a neutral molecule's
        spec = spec.replace(outputs={"dipole": spec.outputs["dipole"].replace(total_charge=1.0)})
    shifts = dict.fromkeys(SPECIES, 0.0)
    statistics = Statistics(species=SPECIES, energy_shift=shifts, energy_scale=1.3, avg_num_neighbors=12.0)
    torch.manual_seed(0)
    return Model(spec.replace(r_max=R_MAX).resolve(statistics)).float().eval()


def ethanol() -> Atoms:
    atoms = molecule("CH3CH2OH", cell=[8.0, 9.0, 10.0])
    atoms.rattle(0.05, seed=1)
    return atoms


def slab() -> Atoms:
    atoms = fcc111("Cu", (2, 2, 3), a=3.7, vacuum=6.0)
    add_adsorbate(atoms, molecule("CO"), 1.9, "ontop")
    atoms.rattle(0.1, seed=2)
    return atoms


STRUCTURES = {"molecule": ethanol, "slab": slab}


def outputs(model: Model, *structures: Atoms) -> dict[str, Tensor]:
    graphs = [make_graph(atoms, R_MAX, dict.fromkeys(model.spec.inputs, np.ones((1, 1)))) for atoms in structures]
    return model(model_input(Batch.from_data_list(graphs), inputs=model.spec.inputs))


def at(atoms: Atoms, distance: float) -> Atoms:
    """Off by that distance along each axis, with digits that float32 does not have."""
    moved = atoms.copy()
    moved.positions += distance * np.array([1.0, -1.1, 0.9])
    return moved


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("name", PRESETS)
def test_float32_is_the_same_everywhere(name: str, structure: str) -> None:
    model, atoms = preset(name), STRUCTURES[structure]()
    here = outputs(model, atoms)
    for distance in SHIFTS:
        there = outputs(model, at(atoms, distance))
        for key, value in here.items():
            assert there[key].dtype == value.dtype
            size = max(value.abs().max().item(), 0.1)
            torch.testing.assert_close(there[key], value, atol=BOUND * size, rtol=0, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("name", PRESETS)
def test_in_a_batch_with_one_that_is_far_away(name: str) -> None:
    model, atoms = preset(name), ethanol()
    alone, both = outputs(model, atoms), outputs(model, at(atoms, 1e6), atoms)
    for key, value in alone.items():
        size = max(value.abs().max().item(), 0.1)
        torch.testing.assert_close(both[key], torch.cat([value, value]), atol=BOUND * size, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outputs_are_of_the_models_type(dtype: torch.dtype) -> None:
    """Energies stay float64, which their sum over atoms needs."""
    model = preset("nequip_small")
    try:
        found = {key: value.dtype for key, value in outputs(model.to(dtype), slab()).items()}
    finally:
        model.float()
    assert found == {"energy": torch.float64, "forces": dtype, "stress": dtype}


def test_training_far_away() -> None:
    """A step on forces and stresses has the gradients it has at the origin."""
    model, atoms = preset("nequip_small"), slab()

    def gradients(atoms: Atoms) -> list[Tensor]:
        found = outputs(model, atoms)
        loss = found["forces"].square().sum() + found["stress"].square().sum()
        return torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True)

    here, there = gradients(atoms), gradients(at(atoms, 1e6))
    size = max(g.abs().max().item() for g in here)
    for one, other in zip(here, there, strict=True):
        torch.testing.assert_close(one, other, atol=BOUND * size, rtol=0)

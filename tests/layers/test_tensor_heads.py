"""Stress, dipole and polarizability against what they are defined by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from support.graphs import graph_of, moved, random_graph, random_o3
from torch import Tensor

from e3frame.compose import config_folder, read_yaml
from e3frame.data.pipeline.graphs import make_graph, model_input
from e3frame.io.cartesian import CartesianTensor
from e3frame.model import ModelSpec
from e3frame.network import Model
from e3frame.nn.dipole import Dipole
from e3frame.nn.reduce import FixedSum
from e3frame.spec.layer import LayerSpec
from e3frame.spec.statistics import Statistics

SYMMETRIC = CartesianTensor("ij=ji")
SPECIES = ("H", "C", "O", "Al", "Ni")
STATISTICS = Statistics(
    species=SPECIES, energy_shift=dict.fromkeys(SPECIES, -3.0), energy_scale=1.3, avg_num_neighbors=12.0
)


def preset(name: str, stress: bool = False) -> Model:
    spec = read_yaml(config_folder() / "model" / f"{name}.yaml").parse(ModelSpec)
    if stress:
        layer = LayerSpec.parse({"kind": "strain_gradient", "of": "energy"})
        spec = spec.replace(outputs={**spec.outputs, "stress": layer})
    torch.manual_seed(0)
    return Model(spec.resolve(STATISTICS)).double().eval()


@pytest.fixture(scope="module")
def model() -> Model:
    return preset("nequip_small", stress=True)


def crystal(seed: int = 0) -> Atoms:
    """Two atoms in a sheared cell so small that they see their own images."""
    atoms = bulk("NiAl", "cesiumchloride", a=2.9)
    shear = np.array([[0.0, 0.2, 0.1], [0.0, 0.1, 0.0], [-0.1, 0.0, 0.2]])
    atoms.set_cell(atoms.cell.array + shear, scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def given(atoms: Atoms) -> dict[str, Tensor]:
    return model_input(make_graph(atoms, 4.0))


def test_stress_is_the_numerical_derivative_by_strain(model: Model) -> None:
    atoms, step = crystal(), 1e-5
    stress = SYMMETRIC.to_cartesian(model(given(atoms))["stress"].detach())[0]
    numerical = torch.zeros(3, 3, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            ends = []
            for sign in (1.0, -1.0):
                strain = torch.zeros(3, 3, dtype=torch.float64)
                strain[i, j] += sign * step / 2
                strain[j, i] += sign * step / 2
                strained = atoms.copy()
                strained.set_cell(atoms.cell.array @ (torch.eye(3) + strain).numpy(), scale_atoms=True)
                ends.append(model(given(strained))["energy"].item())
            numerical[i, j] = (ends[0] - ends[1]) / (2 * step) / atoms.get_volume()
    assert stress.abs().max() > 1e-3
    torch.testing.assert_close(stress, numerical, atol=1e-8, rtol=1e-5)


def test_forces_beside_a_stress_are_those_without_it(model: Model) -> None:
    graph = given(crystal())
    alone = preset("nequip_small")(graph)
    both = model(graph)
    torch.testing.assert_close(both["forces"], alone["forces"], atol=1e-12, rtol=0)
    torch.testing.assert_close(both["energy"], alone["energy"], atol=1e-12, rtol=0)


def test_a_supercell_has_the_stress_of_its_cell(model: Model) -> None:
    atoms = crystal()
    one, many = (model(given(a))["stress"] for a in (atoms, atoms.repeat((2, 1, 2))))
    torch.testing.assert_close(one, many, atol=1e-10, rtol=0)


@pytest.mark.parametrize("inversion", [False, True])
def test_stress_turns_with_the_crystal(model: Model, inversion: bool) -> None:
    matrix, graph = random_o3(3, inversion), given(crystal())
    before, after = (SYMMETRIC.to_cartesian(model(g)["stress"]) for g in (graph, moved(graph, matrix, torch.ones(3))))
    torch.testing.assert_close(after, matrix @ before @ matrix.T, atol=1e-10, rtol=0)


def test_a_molecule_has_no_stress_and_spoils_no_gradient(model: Model) -> None:
    """Its row is NaN; left out of a loss it leaves no NaN in the gradients, which are those of the crystal alone."""
    graph = random_graph(1)
    graph["cell"] = torch.zeros(1, 3, 3, dtype=torch.float64)
    out = model(graph)
    assert out["stress"].isnan().all()
    assert out["forces"].isfinite().all()
    weights = [p for p in model.parameters() if p.requires_grad]
    loss = out["stress"].where(torch.tensor(False), 0.0).sum() + out["energy"].sum()
    found = torch.autograd.grad(loss, weights)
    expected = torch.autograd.grad(model(graph)["energy"].sum(), weights)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_two_charges_make_the_dipole_one_knows() -> None:
    pos = torch.tensor([[0.0, 0, 0], [0.0, 0, 2.0], [5.0, 5, 5]], dtype=torch.float64)
    species, batch = torch.zeros(3, dtype=torch.long), torch.tensor([0, 0, 1])
    charges = torch.tensor([[-0.3], [0.5], [0.7]], dtype=torch.float64)  # 0.1 too much on each of the two
    dipole = Dipole([1.0]).double()(charges, pos, species, batch, 2)
    torch.testing.assert_close(dipole, torch.tensor([[0, 0, 0.8], [0, 0, 0]], dtype=torch.float64))
    vectors = torch.cat([charges, torch.ones(3, 3, dtype=torch.float64)], 1)
    both = Dipole([1.0]).double()(vectors, pos, species, batch, 2)
    torch.testing.assert_close(both - dipole, torch.tensor([[2.0] * 3, [1.0] * 3], dtype=torch.float64))


def test_an_ion_is_seen_from_its_centre_of_mass() -> None:
    """A charge Q that sits elsewhere than the mass: μ = Q (centre of charge - centre of mass)."""
    pos = torch.tensor([[0.0, 0, 0], [0.0, 0, 3.0]], dtype=torch.float64) + 100.0
    species, batch = torch.tensor([0, 1]), torch.zeros(2, dtype=torch.long)
    charges = torch.tensor([[0.0], [-1.0]], dtype=torch.float64)
    dipole = Dipole([2.0, 1.0], total_charge=-1.0).double()(charges, pos, species, batch, 1)
    torch.testing.assert_close(dipole, torch.tensor([[0, 0, -2.0]], dtype=torch.float64))


def test_the_size_of_a_dipole_is_its_norm() -> None:
    graph = random_graph(1)
    size = preset("dipole_size")
    found: list[Tensor] = []
    size.layers["dipole"].register_forward_hook(lambda module, inputs, output: found.append(output))
    mu = size(graph)["mu"]
    assert mu.min() > 1e-4
    torch.testing.assert_close(mu[:, 0], found[0].norm(dim=1), atol=1e-12, rtol=0)


def test_charges_are_shifted_to_their_total() -> None:
    batch = torch.tensor([0, 0, 0, 1, 1])
    charges = torch.randn(5, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = FixedSum(-2.0)(charges, batch, 2)
    torch.testing.assert_close(found[:3].sum(), torch.tensor(-2.0, dtype=torch.float64))
    torch.testing.assert_close(found[3:].sum(), torch.tensor(-2.0, dtype=torch.float64))
    assert (found - charges)[:3].std() < 1e-15


def test_each_graph_has_its_own_total() -> None:
    """In a batch as alone, and as a model whose total is that number for all graphs."""
    graph = random_graph(3, num_nodes=7, num_graphs=2)
    x = torch.randn(7, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    species, batch = torch.zeros(7, dtype=torch.long), graph["batch"]
    totals = torch.tensor([[1.0], [-2.0]], dtype=torch.float64)
    charges = FixedSum(5.0)(x, batch, 2, totals)
    sums = torch.zeros(2, 1, dtype=torch.float64).index_add(0, batch, charges)
    torch.testing.assert_close(sums, totals)
    dipoles = Dipole([2.0]).double()(x, graph["pos"], species, batch, 2, totals)
    for g, total in enumerate(totals):
        alone = Dipole([2.0], float(total)).double()(x, graph["pos"], species, batch, 2)
        torch.testing.assert_close(dipoles[g], alone[g])


@pytest.mark.parametrize("inversion", [False, True])
@pytest.mark.parametrize("name", ["dipole", "polarizability"])
def test_presets_turn_with_the_molecule(name: str, inversion: bool) -> None:
    model, graph, matrix = preset(name), random_graph(2, r_max=4.0), random_o3(4, inversion)
    before, after = (model(g)[name] for g in (graph, moved(graph, matrix, torch.tensor([3.0, -1.0, 8.0]))))
    assert before.abs().max() > 1e-3
    if name == "dipole":
        torch.testing.assert_close(after, before @ matrix.T, atol=1e-10, rtol=0)
    else:
        before, after = SYMMETRIC.to_cartesian(before), SYMMETRIC.to_cartesian(after)
        torch.testing.assert_close(after, matrix @ before @ matrix.T, atol=1e-10, rtol=0)


def test_polarizabilities_of_molecules_apart_add_up() -> None:
    model = preset("polarizability")
    a, b = random_graph(4, 4, 4.0), random_graph(5, 5, 4.0)
    far = b["pos"] + torch.tensor([100.0, 0.0, 0.0], dtype=torch.float64)
    both = graph_of(torch.cat([a["pos"], far]), torch.cat([a["z"], b["z"]]), 4.0)
    apart = model(a)["polarizability"] + model(b)["polarizability"]
    torch.testing.assert_close(model(both)["polarizability"], apart, atol=1e-9, rtol=0)

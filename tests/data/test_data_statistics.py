"""Reference energies, force scale and neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from e3frame.data.pipeline.dataset import GraphDataset
from e3frame.data.pipeline.graphs import make_graph
from e3frame.data.pipeline.loader import load
from e3frame.data.pipeline.statistics import Range, compute_statistics
from e3frame.data.sources.sample import LABELS, SampleSpec
from e3frame.spec.errors import DataError
from e3frame.spec.statistics import Statistics

REFERENCE = {"H": -13.6, "C": -1030.0, "N": -1485.0, "O": -2042.0}


def dataset(names: list[str], *, forces: bool = True, noise: float = 0.0, constant: bool = False) -> GraphDataset:
    rng = np.random.default_rng(0)
    graphs = []
    for name in names:
        atoms = molecule(name)
        energy = sum(REFERENCE[s] for s in atoms.get_chemical_symbols()) + noise * rng.normal()
        labels = {"energy": np.array([-5.0 if constant else energy])}
        if forces:
            labels["forces"] = np.zeros((len(atoms), 3)) if constant else rng.normal(size=(len(atoms), 3))
        graphs.append(make_graph(atoms, 5.0, labels))
    return GraphDataset.from_graphs(graphs)


def test_reference_energies_that_the_compositions_fix() -> None:
    found = compute_statistics(dataset(["CH4", "H2O", "NH3", "H2", "CH3OH", "HCN"] * 3))
    assert found.species == ("H", "C", "N", "O")
    for symbol, energy in REFERENCE.items():
        assert found.energy_shift[symbol] == pytest.approx(energy, abs=1e-9)


def test_one_molecule_gives_its_mean_energy_and_the_likeliest_parts() -> None:
    """Only their sum is determined; what the parts are is taken from free atoms, or, of small energies, the same."""
    data = dataset(["CH3CH2OH"] * 20, noise=0.3)
    found = compute_statistics(data)
    assert found.undetermined == ("H", "C", "O")
    composition = np.array([6.0, 2.0, 1.0])
    mean = data.stacked("energy").mean().item()
    assert composition @ shifts(found) == pytest.approx(mean, abs=1e-9)
    np.testing.assert_allclose(shifts(found), [REFERENCE[s] for s in found.species], rtol=0.15)
    data.stacked("energy")[:] += 45.0 - mean
    np.testing.assert_allclose(shifts(compute_statistics(data)), [5.0, 5.0, 5.0], rtol=1e-12)


def shifts(found: Statistics) -> np.ndarray:
    return np.array([found.energy_shift[symbol] for symbol in found.species])


def test_scale_and_neighbours() -> None:
    data = dataset(["CH4", "H2O"])
    found = compute_statistics(data)
    assert found.energy_scale == pytest.approx(data.stacked("forces").square().mean().sqrt().item(), rel=1e-14)
    assert found.avg_num_neighbors == pytest.approx((5 * 4 + 3 * 2) / 8)


def test_frames_without_labels_have_no_say() -> None:
    names = ["CH4", "H2O", "NH3", "H2", "CH3OH", "HCN"] * 2
    data = dataset(names, noise=0.1)
    whole = compute_statistics(data[:6])
    data.stacked("energy")[6:] = np.nan
    data.stacked("forces")[int(data.counts("z")[:6].sum()) :] = np.nan
    found = compute_statistics(data)
    assert found.energy_shift == pytest.approx(whole.energy_shift, rel=1e-12)
    assert found.energy_scale == pytest.approx(whole.energy_scale, rel=1e-12)
    data.stacked("energy")[:] = np.nan
    assert compute_statistics(data).energy_shift == {}


def test_scale_without_forces_is_that_of_the_energies_per_atom() -> None:
    data = dataset(["CH3CH2OH"] * 20, forces=False, noise=0.9)
    assert compute_statistics(data).energy_scale == pytest.approx(float(np.std(data.stacked("energy").numpy() / 9)))


def test_of_a_mean_the_values_of_species_are_weighed_by_their_fractions() -> None:
    """For an intensive label, such as a gap, which the mean over the atoms predicts."""
    names = ["CH4", "H2O", "NH3", "H2", "CH3OH", "HCN"] * 3
    data = dataset(names, forces=False, noise=0.2)
    atoms = data.counts("z").double()
    data.stacked("energy")[:] /= atoms
    found = compute_statistics(data, mean=True)
    for symbol, value in REFERENCE.items():
        assert found.energy_shift[symbol] == pytest.approx(value, abs=1.0)
    fractions = torch.stack([(data.stacked("z") == z).double() for z in (1, 6, 7, 8)], 1)
    owner = torch.arange(len(data)).repeat_interleave(data.counts("z"))
    fractions = torch.zeros(len(data), 4, dtype=torch.float64).index_add_(0, owner, fractions) / atoms[:, None]
    shifts = torch.tensor([found.energy_shift[symbol] for symbol in REFERENCE], dtype=torch.float64)
    residual = data.stacked("energy") - fractions @ shifts
    assert (fractions.T @ residual).abs().max() < 1e-9  # least squares
    assert found.energy_scale == pytest.approx(float(residual.std(correction=0)))


def test_without_energies() -> None:
    data = GraphDataset.from_graphs([make_graph(molecule("CH4"), 5.0)] * 2)
    found = compute_statistics(data)
    assert (found.energy_shift, found.energy_scale, found.avg_num_neighbors) == ({}, 1.0, 4.0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            dataset(["CH4"] * 3, constant=True),
            "memory\n  all forces are zero in the training frames\n"
            "  if they are zero by symmetry: data.allow=[zero_forces]",
        ),
        (
            dataset(["CH4"] * 3, forces=False, constant=True),
            "memory\n  the energy is the same in all training frames",
        ),
        (
            GraphDataset.from_graphs([make_graph(Atoms("H"), 5.0, {"energy": np.ones(1)})] * 3),
            "memory\n  no atom has a neighbour within r_max\n"
            "  raise model.r_max\n  if isolated atoms are intended: data.allow=[isolated_atoms]",
        ),
    ],
)
def test_no_scale(data: GraphDataset, message: str) -> None:
    with pytest.raises(DataError) as caught:
        compute_statistics(data)
    assert str(caught.value) == message


def test_a_mean_that_rounding_left_is_zero() -> None:
    found = Range(smallest=-1.5, largest=2.0, mean=7.3e-11, deviation=1.1, missing=0)
    assert found.written("smallest", "mean", "deviation") == ["-1.5", "0", "1.1"]
    assert found._replace(mean=7.3e-7, largest=1e-11).written("mean", "largest") == ["7.3e-07", "1e-11"]
    assert Range(2.0, 2.0, 2.0, 0.0, 0).written("mean") == ["2"]


def test_sample() -> None:
    """Float64 throughout: the shifted energies of the sample have no offset that float32 would leave."""
    train = load(SampleSpec(), 5.0, LABELS).train
    found = compute_statistics(train)
    owner = torch.arange(len(train)).repeat_interleave(train.counts("z"))
    shift = torch.zeros(9, dtype=torch.float64)
    for z, symbol in ((1, "H"), (6, "C"), (7, "N"), (8, "O")):
        shift[z] = found.energy_shift[symbol]
    reference = torch.zeros(len(train), dtype=torch.float64).index_add_(0, owner, shift[train.stacked("z")])
    residual = train.stacked("energy") - reference
    assert abs(residual.mean()) < 1e-9
    assert residual.std() < 0.2
    assert 0.9 < found.energy_scale < 1.3
    assert 5 < found.avg_num_neighbors < 9

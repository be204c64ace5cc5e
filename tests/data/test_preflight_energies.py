"""What is said of energies before training: units, digits, and energies per atom."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from ase.build import molecule
from support.sample import changed

from e3frame.data.pipeline.dataset import GraphDataset, Splits
from e3frame.data.pipeline.graphs import Graph, make_graph
from e3frame.data.sources.base import Label
from e3frame.preflight.checks import Requirements, check_data
from e3frame.preflight.energies import check_energies
from e3frame.preflight.gradient import check_gradient
from e3frame.spec.units import ENERGY


def test_energies_per_atom(graphs: list[Graph]) -> None:
    """By their sizes where molecules differ in it, else by the forces."""
    alkanes = [molecule(name) for name in ("CH4", "C2H2", "C2H4", "C2H6", "C3H8", "C6H6") for _ in range(5)]
    rng, energies = np.random.default_rng(0), {"H": -3.0, "C": -9.0}
    totals = [sum(energies[s] for s in atoms.symbols) + 0.3 * rng.normal() for atoms in alkanes]
    for per_atom in (False, True):
        values = [np.array([e / len(atoms) if per_atom else e]) for e, atoms in zip(totals, alkanes, strict=True)]
        made = [make_graph(atoms, 4.0, {"energy": e}) for atoms, e in zip(alkanes, values, strict=True)]
        said = [(f.level, f.text) for f in check_energies(GraphDataset.from_graphs(made), "energy", references=True)]
        text = "the energy does not grow with the number of atoms: it looks like an energy per atom"
        assert said == ([("error", text)] if per_atom else [])
    copies = changed(graphs[:50], energy=1 / graphs[0].num_nodes)  # ethanol
    found = check_gradient(copies)
    assert found.level == "error"
    assert "energies are per atom, not of the whole frame" in found.hint


def test_energies_that_lost_their_digits(graphs: list[Graph]) -> None:
    def said(change: Callable, references: bool = True) -> list[str]:
        copies = changed(graphs[:50])
        for graph in copies:
            graph.energy = change(graph.energy)
        return [found.text for found in check_energies(GraphDataset.from_graphs(copies), "energy", references)]

    (text,) = said(lambda energy: (energy - 17_000).float().double())
    assert re.fullmatch(
        r"the energy \(about -1730\d\.\d* eV\) was stored in float32 \(in eV\), with steps of 2 meV, 1\.\d% of its "
        "standard deviation", text
    )  # fmt: skip
    (text,) = said(lambda energy: ((energy - 17_000) / ENERGY["kcal/mol"]).float().double() * ENERGY["kcal/mol"])
    assert "was stored in float32 (in kcal/mol), with steps of 1.4 meV" in text
    (text,) = said(lambda energy: (energy / ENERGY["Hartree"]).mul(1000).round().div(1000) * ENERGY["Hartree"])
    assert re.fullmatch(r"the energy was rounded to 0.001 Hartree, \d\d.\d% of its standard deviation", text)
    (text,) = said(lambda energy: energy - 17_000, references=False)
    assert text.endswith(
        "eV, but the model has no reference energies of the atoms: float32 has steps of 2 meV at this size"
    )
    assert said(lambda energy: energy - 17_000) == said(lambda energy: energy - energy.round(), False) == []


def test_a_mean_over_the_atoms_may_be_an_energy_per_atom() -> None:
    """What is an error in a sum is what a mean is for."""
    alkanes = [molecule(name) for name in ("CH4", "C2H2", "C2H4", "C2H6", "C3H8", "C6H6") for _ in range(5)]
    rng, energies = np.random.default_rng(0), {"H": -3.0, "C": -9.0}
    means = [np.array([np.mean([energies[s] for s in atoms.symbols]) + 0.03 * rng.normal()]) for atoms in alkanes]
    made = [make_graph(atoms, 4.0, {"energy": e}) for atoms, e in zip(alkanes, means, strict=True)]
    splits = Splits(GraphDataset.from_graphs(made), None, None)
    for is_mean in (False, True):
        found = check_data(splits, Requirements({"energy": Label("graph")}, energy="energy", is_mean=is_mean))
        assert any(finding.level == "error" for finding in found) == (not is_mean)


FACTORS = {"kcal/mol": "eV and kcal/mol", "Hartree": "eV and Hartree", "kJ/mol": "eV and kJ/mol", "Ry": "eV and Ry"}


@pytest.mark.parametrize("unit", FACTORS)
@pytest.mark.parametrize("part", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("shift", [0.0, 250.0])
def test_energies_of_two_units(unit: str, part: float, shift: float, graphs: list[Graph]) -> None:
    """Files put together, with energies of hundreds of eV or, without most of those of the atoms, of tens."""
    copies = changed(graphs)
    first = int(len(copies) * (1 - part)) + 1
    rng = np.random.default_rng(0)
    copies = [copies[k] for k in rng.permutation(len(copies))]
    for k, graph in enumerate(copies):
        graph.energy = (graph.energy + shift) / (ENERGY[unit] if k >= first else 1.0)
        graph.frame = torch.tensor([k])
    found = check_energies(GraphDataset.from_graphs(copies), "energy", references=True)
    assert [finding.level for finding in found] == ["error"]
    other = len(copies) - first if part < 0.5 else first
    assert f", as {FACTORS[unit]} do, " in found[0].text
    if part != 0.5:
        assert f"in {other} of {len(copies)} frames (frame " in found[0].text
    if part < 0.5:
        assert int(re.search(r"frame (\d+) of memory first", found[0].text)[1]) == first


def said_of(values: np.ndarray, graphs: list[Graph]) -> list[tuple[str, str]]:
    copies = changed(graphs)
    for graph, value in zip(copies, values, strict=True):
        graph.energy = torch.tensor([value])
    return [(f.level, f.text) for f in check_energies(GraphDataset.from_graphs(copies), "energy", references=True)]


def test_energies_of_one_unit_pass(graphs: list[Graph]) -> None:
    """However hot, however many molecules, whatever the zero of energy; and energies around zero say nothing."""
    energies = np.array([float(graph.energy) for graph in graphs])
    rng = np.random.default_rng(0)
    n = len(energies)
    for values in (
        energies,
        energies - energies.mean(),
        energies - energies.min(),
        energies + 40 * rng.exponential(size=n),  # torn apart
        -30.0 + 10 * rng.exponential(size=n),
        -rng.gamma(1.0, 5.0, size=n),
        rng.normal(size=n),
        np.where(rng.random(n) < 0.1, 0.0, energies),  # none where it failed
        np.where(np.arange(n) < 3, 23 * energies, energies),  # some outliers
        np.tile([1.0, 2.0, 3.0, 4.0], n // 4) * -100,  # levels
        np.linspace(-30, -1, n),  # a path of dissociation
        10 ** rng.uniform(-3, 2, size=n),
        np.where(np.arange(n) < 6, -54, -30 * (1 + 0.1 * rng.normal(size=n))),  # outliers of isomers
    ):
        assert not [text for _, text in said_of(values, graphs) if "equal compositions differs" in text]


def test_two_charge_states_of_one_molecule_are_no_error(graphs: list[Graph]) -> None:
    """Such as methanol and its cation, whose atomization energies are nearly as far apart as Hartree and Ry."""
    ethanol = [graph for graph in graphs if graph.num_nodes == 9]
    rng, n = np.random.default_rng(0), len(ethanol)
    values = np.where(np.arange(n) % 4 == 0, -11.4, -22.2) + 0.25 * rng.normal(size=n)
    ((level, text),) = said_of(values, ethanol)
    assert level == "warning"
    assert "equal compositions differs" in text


def test_scattered_outliers_of_many_frames_are_not_of_another_unit(graphs: list[Graph]) -> None:
    many = graphs * 4
    energies = np.array([float(graph.energy) for graph in many])
    energies[100:107] *= np.array([2.0, 3, 5, 9, 14, 22, 40])
    assert not [text for _, text in said_of(energies, many) if "equal compositions differs" in text]


def test_energies_of_two_levels_of_theory(graphs: list[Graph]) -> None:
    energies = np.array([float(graph.energy) for graph in graphs])
    ((level, text),) = said_of(np.where(np.arange(len(energies)) % 3 == 0, 7.0 * energies, energies), graphs)
    assert level == "warning"
    assert "differs by a factor of 6.999, " in text
    assert ", perhaps two levels of theory, " in text

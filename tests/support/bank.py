"""Sound data sets of unusual kinds, labelled by made-up potentials, for the tests of what is said of data."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from scipy.spatial.transform import Rotation
from support.matter import MATTER, molecules, rattled
from support.potentials import Potential

from e3frame.data.pipeline.dataset import GraphDataset, Splits
from e3frame.data.pipeline.graphs import Graph, make_graph
from e3frame.data.sources.base import Label
from e3frame.preflight.checks import Requirements, check_data
from e3frame.preflight.findings import Finding

R_MAX = 4.5
LABELS = {"energy": Label("graph", ()), "forces": Label("node", (3,)), "stress": Label("graph", (3, 3))}
POTENTIALS = {
    "pairs": Potential(),
    "angles": Potential(depth=1.5, angles=3.0, reach=4.0),
    "metal": Potential(depth=0.3, band=1.5, steep=1.2),
    "ions": Potential(depth=0.4, charge=0.8, reach=6.0),
}
FITTING = {"NaCl": "ions", "CsCl": "ions", "perovskite": "ions", "copper": "metal", "iron": "pairs", "slab": "metal"}
"""Which of the potentials is nearest to the nature of a kind of matter; of the others angles."""

Rows = list[Atoms]


def labelled(frames: Rows, potential: Callable[[Atoms], tuple], offset: float = 0.0) -> Rows:
    """The frames with energies, forces and stresses in ``info`` and ``arrays``."""
    for atoms in frames:
        energy, forces, stress = potential(atoms)
        atoms.info["energy"] = energy + offset * len(atoms)
        atoms.arrays["forces"] = forces
        if atoms.pbc.all():
            atoms.info["stress"] = stress
    return frames


def with_ase(calculator: Callable) -> Callable[[Atoms], tuple]:
    def label(atoms: Atoms) -> tuple:
        copy = atoms.copy()
        copy.calc = calculator()
        stress = copy.get_stress(voigt=False) if atoms.pbc.all() else None
        return copy.get_potential_energy(), copy.get_forces(), stress

    return label


def scaled(frames: Rows, factor: float) -> Rows:
    """Under pressure, or apart."""
    for atoms in frames:
        if atoms.pbc.any():
            atoms.set_cell(atoms.cell * factor, scale_atoms=True)
        else:
            atoms.positions *= factor
    return frames


def repeated(name: str, times: int, amplitude: float, number: int, seed: int, strain: float = 0.0) -> Rows:
    """Larger cells of one kind of matter."""
    rng, frames = np.random.default_rng(seed), []
    for _ in range(number):
        atoms = MATTER[name]() * tuple(times if along else 1 for along in MATTER[name]().pbc)
        atoms.set_cell(atoms.cell @ (np.eye(3) + strain * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.positions += amplitude * rng.normal(size=atoms.positions.shape)
        frames.append(atoms)
    return frames


def walk(name: str, step: float, number: int, seed: int, reach: float = 0.1) -> Rows:
    """Consecutive frames of a trajectory: shifts that forget themselves slowly, about one place."""
    rng, rest = np.random.default_rng(seed), MATTER[name]()
    shift, frames = np.zeros_like(rest.positions), []
    for _ in range(number):
        shift = shift * (1 - step / reach) + step * rng.normal(size=shift.shape)
        atoms = rest.copy()
        atoms.positions += shift
        frames.append(atoms)
    return frames


def apart(name: str, number: int, seed: int) -> Rows:
    """Two molecules at many distances, which hold each other by dispersion alone."""
    rng, frames = np.random.default_rng(seed), []
    for _ in range(number):
        one, other = (molecule(name) if len(name) > 2 else Atoms(name, [[0, 0, 0]]) for _ in range(2))
        one.positions = one.positions @ Rotation.random(random_state=rng).as_matrix()
        other.positions = other.positions @ Rotation.random(random_state=rng).as_matrix() + [rng.uniform(3.2, 5), 0, 0]
        frames.append(one + other)
    return frames


def coarse(number: int, noise: float, seed: int) -> Rows:
    """Chains of beads on springs, with the forces that the atoms under them happen to have."""
    rng, frames = np.random.default_rng(seed), []
    for _ in range(number):
        steps = rng.normal(size=(8, 3))
        steps *= (3.8 + 0.1 * rng.normal(size=(8, 1))) / np.linalg.norm(steps, axis=1, keepdims=True)
        atoms = Atoms("C8", np.cumsum(steps, 0))
        bond = np.diff(atoms.positions, axis=0)
        r = np.linalg.norm(bond, axis=1)
        pull = (5.0 * (r - 3.8) / r)[:, None] * bond
        forces = noise * rng.normal(size=(8, 3))
        forces[:-1] += pull
        forces[1:] -= pull
        atoms.arrays["forces"] = forces - forces.mean(0)
        frames.append(atoms)
    return frames


def melt(name: str, amplitude: float, number: int, seed: int) -> Rows:
    """No two atoms nearer than 0.7 of the nearest distance."""
    rng, frames = np.random.default_rng(seed), []
    rest = MATTER[name]()
    near = 0.7 * np.min(rest.get_all_distances(mic=True) + 9 * np.eye(len(rest))) if len(rest) > 1 else 0
    while len(frames) < number:
        atoms = rest.copy()
        atoms.positions += amplitude * rng.normal(size=atoms.positions.shape)
        if len(atoms) < 2 or np.min(atoms.get_all_distances(mic=True) + 9 * np.eye(len(atoms))) > near:
            frames.append(atoms)
    return frames


class Set(NamedTuple):
    """Frames of which all is right, and what the user has said of them."""

    name: str
    frames: Rows
    allow: tuple[str, ...] = ()


def sound(number: int, seed: int) -> Iterator[Set]:
    """Data sets of every kind, of ``number`` frames each where the kind does not say how many."""
    for name in MATTER:
        fitting = POTENTIALS[FITTING.get(name, "angles")]
        alone = ("zero_forces",) if len(MATTER[name]()) == 1 else ()
        for amplitude, strain in ((0.005, 0.0), (0.05, 0.0), (0.05, 0.02), (0.15, 0.03)):
            frames = rattled(name, amplitude, number, seed, strain)
            yield Set(f"{name}, shifted by {amplitude}, strained by {strain}", labelled(frames, fitting), alone)
        yield Set(f"{name}, trajectory", labelled(walk(name, 0.01, number, seed), fitting), alone)
        yield Set(f"{name}, hot", labelled(melt(name, 0.3, number, seed), fitting), alone)
        if MATTER[name]().pbc.all():
            for kind, size in (("pressed", 0.94), ("stretched", 1.06)):
                frames = scaled(rattled(name, 0.05, number, seed, 0.02), size)
                yield Set(f"{name}, {kind}", labelled(frames, fitting), alone)
        for few in (1, 2, 5, 10):
            yield Set(f"{name}, {few} frames", labelled(rattled(name, 0.05, few, seed, 0.02), fitting), alone)
    for name, potential in POTENTIALS.items():
        yield Set(f"CsCl cells of {name}", labelled(repeated("CsCl", 2, 0.05, number // 2, seed, 0.02), potential))
        yield Set(f"ethanol of {name}", labelled(rattled("ethanol", 0.05, number, seed), potential, -40.0))
        yield Set(f"molecules of {name}", labelled(molecules(number, seed), potential, -40.0))
    yield Set("Cu by EMT", labelled(repeated("copper", 1, 0.1, number, seed, 0.02), with_ase(EMT)))
    yield Set("Cu by EMT, at rest", labelled(repeated("copper", 1, 0.005, number, seed), with_ase(EMT)))
    yield Set("ethanol by EMT", labelled(rattled("ethanol", 0.05, number, seed), with_ase(EMT)))
    cold = lambda: LennardJones(sigma=2.3, epsilon=0.01, rc=6.0, smooth=True)  # noqa: E731
    yield Set("Cu by Lennard-Jones", labelled(repeated("copper", 1, 0.1, number, seed, 0.02), with_ase(cold)))
    for name, bond in {"Ar": 0.0, "CH4": 4.0, "H2O": 4.0}.items():
        weak = Potential(depth=bond, steep=2.2, dispersion=8.0, reach=8.0)
        yield Set(f"{name} by dispersion", labelled(apart(name, number, seed), weak))
    for noise in (0.1, 1.0, 10.0):
        yield Set(f"beads with noise {noise}", coarse(number, noise, seed))
    both = labelled(repeated("NaCl", 1, 0.05, number // 2, seed, 0.02), POTENTIALS["ions"])
    both += labelled(repeated("NaCl", 2, 0.05, number // 4, seed, 0.02), POTENTIALS["ions"])
    yield Set("two formula units", both)
    mixed = labelled(rattled("copper", 0.05, number // 2, seed, 0.02), POTENTIALS["metal"])
    yield Set(
        "crystals and clusters", mixed + labelled(rattled("cluster", 0.05, number // 2, seed), POTENTIALS["metal"])
    )
    for offset in (-1e4, 1e3, 3.0):
        yield Set(
            f"energies from {offset}", labelled(rattled("ethanol", 0.05, number, seed), POTENTIALS["angles"], offset)
        )


def look_at(data: Set, part: float = 0.8) -> list[Finding]:
    """What is said of a set, four fifths of which are trained on."""
    names = set.intersection(*({*atoms.info, *atoms.arrays} for atoms in data.frames))
    asked = {name: label for name, label in LABELS.items() if name in names}
    graphs = [_graph(atoms, k, {"energy", "stress"} & names) for k, atoms in enumerate(data.frames)]
    number = max(1, int(part * len(graphs)))
    train, rest = graphs[:number], graphs[number:]
    splits = Splits(dataset(train), dataset(rest) if rest else None, None)
    return check_data(splits, Requirements(asked, "energy" if "energy" in asked else None, "forces", allow=data.allow))


def dataset(graphs: list[Graph]) -> GraphDataset:
    made = GraphDataset.from_graphs(graphs, ["a.xyz"])
    made.r_max = R_MAX
    return made


def _graph(atoms: Atoms, frame: int, names: Collection[str]) -> Graph:
    labels = {"forces": atoms.arrays["forces"]}
    labels |= {name: np.array([atoms.info[name]]) for name in names if name in atoms.info}
    return make_graph(atoms, R_MAX, labels, frame)


def few_sound() -> list[Set]:
    """One of each kind, of few frames."""
    kinds = ["NaCl", "silicon", "slab", "sheet", "methane", "benzene", "CO2", "dimer"]
    found = [_fitting(name, rattled(name, 0.005, 30, 1)) for name in kinds]
    found += [_fitting(name, walk(name, 0.01, 30, 1)) for name in ("NaCl", "CsCl", "wurtzite", "ethanol")]
    found += [_fitting(name, rattled(name, 0.05, few, 1, 0.02)) for name in ("CsCl", "ethanol") for few in (1, 2, 10)]
    cell = labelled(repeated("NaCl", 1, 0.05, 20, 1, 0.02) + repeated("NaCl", 2, 0.05, 10, 1, 0.02), POTENTIALS["ions"])
    return [*found, _fitting("iron", rattled("iron", 0.05, 30, 1, 0.02)), Set("two formula units", cell)]


def _fitting(name: str, frames: Rows) -> Set:
    alone = ("zero_forces",) if len(frames[0]) == 1 else ()
    potential = POTENTIALS[FITTING.get(name, "angles")]
    return Set(f"{name}, {len(frames)} frames", labelled(frames, potential), alone)


def of_energies(kind: str) -> Set:
    """Frames of which every mistake can be told, the caller's to spoil."""
    made = _of_energies(kind)
    return made._replace(frames=[atoms.copy() for atoms in made.frames])


@cache
def _of_energies(kind: str) -> Set:
    if kind == "molecules":
        return Set(kind, labelled(walk("ethanol", 0.02, 60, 0), POTENTIALS["angles"], -40.0))
    return Set(kind, labelled(repeated("CsCl", 2, 0.08, 40, 0, 0.02), POTENTIALS["pairs"]))


def main() -> None:
    """Print what is said against sound sets: ``PYTHONPATH=.:tests python -m support.bank FRAMES SEEDS``."""
    number, seeds, sets = int(sys.argv[1]), int(sys.argv[2]), 0
    for seed in range(seeds):
        for data in sound(number, seed):
            sets += 1
            for finding in look_at(data):
                if finding.level in ("warning", "error"):
                    print(f"{finding.level}: {data.name}, seed {seed}: {finding.check}: {finding.text}", flush=True)
    print(f"{sets} sets")


if __name__ == "__main__":
    main()

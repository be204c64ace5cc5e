"""Make the embedded data set ``data=sample``: GFN2-xTB molecular dynamics of small organic molecules.

    pip install "e3frame[data]"
    OMP_NUM_THREADS=1 python scripts/make_sample.py [--jobs 2]

Each molecule is run on its own: Langevin dynamics at 500 K (0.5 fs steps, friction 0.01/fs), 5 ps of equilibration,
then a frame every 100 fs. The trajectory is cut by time: the first part is for training, then after a gap of 2 ps comes
validation, and after another gap the test. Frames in a gap are thrown away, so that no test frame has a near neighbour
in training.

Positions are centred and rounded to float32 before they are labelled, so that the stored labels belong to the stored
positions. Labels are single points with an SCF a hundred times tighter than the default:

    energy           eV       the electronic free energy at 300 K, of which the forces are the gradient
    forces           eV/Å
    dipole           e*Å
    polarizability   Å^3      alpha_ij = d mu_i / d F_j by central differences of the dipole in uniform electric
                              fields of ±0.001 a.u. along x, y and z, then symmetrized; stored as xx yy zz yz xz xy. The
                              minimal basis makes it about half of what is measured.

Before anything is written, a few frames of each molecule are checked: forces against numerical gradients, the
polarizability against the second derivative of the energy in the field and against that of the rotated molecule.
The seed fixes the trajectories on one machine; rounding elsewhere may lead to other frames of the same ensemble.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.constraints import FixCom
from ase.md.langevin import Langevin
from ase.optimize import BFGS
from numpy.typing import NDArray
from tblite.ase import TBLite
from tblite.interface import Calculator
from tblite.library import ffi

# Name -> entry of ASE's G2 collection. Their compositions have full rank: the data fix all four reference energies.
MOLECULES = {"ethanol": "CH3CH2OH", "acetamide": "CH3CONH2", "acetic_acid": "CH3COOH", "furan": "C4H4O"}
SPLITS = {"train": 450, "val": 50, "test": 100}
GAP = 20  # frames between the splits
TIMESTEP, TEMPERATURE, FRICTION = 0.5, 500.0, 0.01  # fs, K, 1/fs
INTERVAL, EQUILIBRATION = 200, 10_000  # steps
FIELD = 1e-3  # atomic units
ACCURACY = 0.01  # of the labels' SCF, in units of tblite's default
VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])

Array = NDArray[np.float64]


class Labeller:
    """GFN2-xTB single points of one molecule, without a field and in small ones; SCF results are reused as guesses."""

    def __init__(self, numbers: NDArray[np.int64], positions: Array) -> None:
        fields = [np.zeros(3), *(sign * FIELD * axis for axis in np.eye(3) for sign in (1.0, -1.0))]
        self.calculators = [Calculator("GFN2-xTB", numbers, positions / units.Bohr) for _ in fields]
        for calculator, field in zip(self.calculators, fields, strict=True):
            calculator.set("verbosity", 0)
            calculator.set("accuracy", ACCURACY)
            calculator.add("electric-field", ffi.new("double[3]", field.tolist()))

    def energies(self, positions: Array) -> Array:
        """Energies in eV: without a field, then in the fields +x, -x, +y, -y, +z, -z."""
        return np.array([result["energy"] for result in self._run(positions)]) * units.Hartree

    def labels(self, positions: Array) -> dict[str, Array]:
        results = self._run(positions)
        dipoles = np.array([result["dipole"] for result in results])
        alpha = ((dipoles[1::2] - dipoles[2::2]) / (2 * FIELD)).T * units.Bohr**3
        return {
            "energy": results[0]["energy"] * units.Hartree,
            "forces": -results[0]["gradient"] * units.Hartree / units.Bohr,
            "dipole": dipoles[0] * units.Bohr,
            "polarizability": 0.5 * (alpha + alpha.T),
        }

    def _run(self, positions: Array) -> list:
        results = []
        for calculator in self.calculators:
            calculator.update(positions=positions / units.Bohr)
            results.append(calculator.singlepoint(results[0] if results else None, copy=True))
        return results


def trajectory(name: str, seed: int, frames: int) -> tuple[Atoms, Array]:
    """Float32-representable, centred positions (frames, atoms, 3) in Å, taken every ``INTERVAL`` steps."""
    rng = np.random.default_rng([seed, *name.encode()])
    atoms = molecule(MOLECULES[name])
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    BFGS(atoms, logfile=None).run(fmax=0.02, steps=200)
    atoms.set_constraint(FixCom())
    thermal = np.sqrt(units.kB * TEMPERATURE * atoms.get_masses())[:, None]
    atoms.set_momenta(thermal * rng.standard_normal((len(atoms), 3)))
    dynamics = Langevin(
        atoms, TIMESTEP * units.fs, temperature_K=TEMPERATURE, friction=FRICTION / units.fs, fixcm=False, rng=rng
    )
    dynamics.run(EQUILIBRATION)
    kept = []
    for _ in range(frames):
        dynamics.run(INTERVAL)
        kept.append(atoms.positions - atoms.get_center_of_mass())
    return atoms, np.array(kept, dtype=np.float32).astype(np.float64)


def verify(atoms: Atoms, positions: Array, rng: np.random.Generator) -> dict[str, float]:
    """Worst deviations of one frame's labels; AssertionError where they are beyond what the differences allow."""
    labeller = Labeller(atoms.numbers, positions)
    labels, step = labeller.labels(positions), 1e-3
    forces = np.zeros_like(positions)
    for index in np.ndindex(*positions.shape):
        shift = np.zeros_like(positions)
        shift[index] = step
        forces[index] = (labeller.energies(positions - shift)[0] - labeller.energies(positions + shift)[0]) / (2 * step)
    energies = labeller.energies(positions) / units.Hartree
    curvature = -(energies[1::2] + energies[2::2] - 2 * energies[0]) / FIELD**2 * units.Bohr**3
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turned = labeller.labels(positions @ rotation.T)
    deviations = {
        "forces, numerical [eV/Å]": np.abs(forces - labels["forces"]).max(),
        "polarizability, d2E/dF2 [Å^3]": np.abs(curvature - labels["polarizability"].diagonal()).max(),
        "polarizability, rotated [Å^3]": np.abs(
            turned["polarizability"] - rotation @ labels["polarizability"] @ rotation.T
        ).max(),
        "dipole, rotated [e*Å]": np.abs(turned["dipole"] - rotation @ labels["dipole"]).max(),
    }
    limits = (3e-4, 3e-4, 3e-4, 1e-8)
    assert all(value < limit for value, limit in zip(deviations.values(), limits, strict=True)), deviations
    return deviations


def make(arguments: tuple[str, int]) -> tuple[str, dict[str, NDArray]]:
    """All arrays of one molecule."""
    name, seed = arguments
    began = time.time()
    total = sum(SPLITS.values()) + GAP * (len(SPLITS) - 1)
    atoms, positions = trajectory(name, seed, total)
    keep, split, start = [], [], 0
    for number, length in enumerate(SPLITS.values()):
        keep += range(start, start + length)
        split += [number] * length
        start += length + GAP
    labeller = Labeller(atoms.numbers, positions[0])
    labels = [labeller.labels(positions[k]) for k in keep]
    stacked = {key: np.array([label[key] for label in labels]) for key in labels[0]}
    rng = np.random.default_rng(seed)
    for k in keep[:: len(keep) // 3][:3]:
        print(name, f"frame {k}:", {key: f"{value:.1e}" for key, value in verify(atoms, positions[k], rng).items()})
    spread = stacked["forces"].std()
    print(f"{name}: {len(keep)} frames, forces {spread:.3f} eV/Å, {time.time() - began:.0f} s", flush=True)
    return name, {
        "z": atoms.numbers.astype(np.uint8),
        "split": np.array(split, dtype=np.uint8),
        "time": np.array(keep, dtype=np.float32) * np.float32(TIMESTEP * INTERVAL),
        "pos": positions[keep].astype(np.float32),
        "energy": stacked["energy"],
        "forces": stacked["forces"].astype(np.float32),
        "dipole": stacked["dipole"].astype(np.float32),
        "polarizability": stacked["polarizability"][:, *VOIGT].astype(np.float32),
    }


def main() -> None:
    default = Path(__file__).parents[1] / "e3frame" / "data" / "sources" / "sample.npz"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=default, help="file to write")
    parser.add_argument("--seed", type=int, default=1, help="seed of the dynamics")
    parser.add_argument("--jobs", type=int, default=1, help="molecules run at a time")
    options = parser.parse_args()
    with Pool(options.jobs) as pool:
        made = dict(pool.imap(make, [(name, options.seed) for name in MOLECULES]))
    sampling = f"Langevin {TEMPERATURE:g} K, a frame every {TIMESTEP * INTERVAL:g} fs"
    about = {
        "method": f"GFN2-xTB (tblite {version('tblite')}), {sampling}",
        "units": {"pos": "Å", "time": "fs", "energy": "eV", "forces": "eV/Å", "dipole": "e*Å", "polarizability": "Å^3"},
        "splits": list(SPLITS),
        "molecules": list(made),
        "seed": options.seed,
    }
    arrays = {f"{name}.{key}": array for name, data in made.items() for key, array in data.items()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.out, about=np.array(json.dumps(about, ensure_ascii=False)), **arrays)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

"""Damaged data files: looked at by ``check``, prepared for training, and given to ``predict``."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write
from fuzz._wrong_data import MAKERS, State
from rich.console import Console
from support.fuzzing import Area, Case
from support.runs import RAW, changed
from support.springs import springs

from e3frame.cli.check import _show_data
from e3frame.config.run import RunConfig
from e3frame.data.pipeline.loader import load
from e3frame.inference.predictions import predict
from e3frame.inference.saved import save_model
from e3frame.network import Model
from e3frame.spec.errors import UserError
from e3frame.spec.statistics import Statistics
from e3frame.spec.validate import validate


def _prepare(folder: Path) -> State:
    water = springs("H2O", 12)
    crystals = []
    for k in range(6):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.05, seed=k)
        atoms.calc = SinglePointCalculator(atoms, energy=float(k), forces=np.ones((4, 3)), stress=np.arange(6.0))
        crystals.append(atoms)
    write(folder / "water.xyz", water, format="extxyz")
    write(folder / "copper.xyz", crystals, format="extxyz")
    write(folder / "water.traj", water)
    write(folder / "water.json", water)
    write(folder / "copper.cif", [atoms.copy() for atoms in crystals])
    write(folder / "copper.POSCAR", crystals[0])
    write(folder / "water.pdb", water)
    write(folder / "water.gen", water[0])
    write(folder / "copper.cfg", crystals[0])
    for suffix, pack in ((".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)):
        (folder / f"water.xyz{suffix}").write_bytes(pack((folder / "water.xyz").read_bytes()))
    with connect(folder / "water.db") as database:
        for atoms in water:
            row = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
            database.write(Atoms(atoms.numbers, atoms.positions), data=row)
        database.metadata = {"_property_unit_dict": {"energy": "eV", "forces": "eV/Ang"}, "_distance_unit": "Ang"}
    np.savez(folder / "water.npz", **_arrays(water))
    sound = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    config = validate(RunConfig, RAW)
    spec = config.model.resolve(
        Statistics(
            species=("H", "O", "Cu"),
            energy_shift={"H": 0.0, "O": 0.0, "Cu": 0.0},
            energy_scale=1.0,
            avg_num_neighbors=2.0,
        )
    )
    torch.manual_seed(0)
    return State(sound, save_model(Model(spec), folder / "model.safetensors"))


def _arrays(frames: list[Atoms]) -> dict[str, np.ndarray]:
    return {
        "R": np.array([atoms.positions for atoms in frames]),
        "z": frames[0].numbers,
        "E": np.array([atoms.get_potential_energy() for atoms in frames]),
        "F": np.array([atoms.get_forces() for atoms in frames]),
    }


def _case(state: State, random: Random, number: int, folder: Path) -> Case:
    make = random.choices(list(MAKERS), weights=MAKERS.values())[0]
    damaged = make(state, random, folder)
    mode = random.choice(("check", "check", "full", "load", "predict"))
    return Case(f"{mode} {damaged.name}", lambda: _run(mode, damaged.data, state.model, random.choice((1, 1, 1, 2))))


def _run(mode: str, data: dict[str, Any], model: Path, processes: int) -> int:
    """What the verbs do, without composing the whole config anew for each case."""
    split = {"val": 0, "test": 0} if mode == "load" and "test_path" not in data else {}
    given = {"processes": processes, "cache_dir": "cache", "batch_size": 2, "split": split} | data
    try:
        if mode == "predict" and data["kind"] == "xyz":
            print(predict(model, [data["path"]], "out.xyz", format=data.get("format")))
            return 0
        run = validate(RunConfig, changed({"data": given})).typed()
        if mode == "load":
            load(run.config.data, run.config.model.r_max, run.config.needed_labels)
            return 0
        _show_data(run, mode == "full", Console(width=100))  # its tables are long, and name their places
        return 0
    except UserError as error:
        print(error, file=sys.stderr)
        return 1


AREA = Area("data", _prepare, _case, placed=True, lines=12)

"""Measure what `data.storage` memory and disk take: the largest memory of a process that prepares a set, checks it,
and reads an epoch of batches.

    python scripts/measure_memory.py 500 2000

Frames are boxes of 108 copper atoms with some 8,400 pairs of neighbours, a third of a megabyte each.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from e3frame.data.pipeline.loader import load
from e3frame.data.pipeline.module import DataModule
from e3frame.data.pipeline.statistics import compute_statistics
from e3frame.data.sources.base import Label
from e3frame.data.sources.xyz import XyzSpec
from e3frame.preflight.checks import Requirements, check_data

LABELS = {"energy": Label("graph"), "forces": Label("node", (3,))}


def make(path: Path, frames: int) -> None:
    """Shaken crystals with made-up labels."""
    rng = np.random.default_rng(0)
    crystal = bulk("Cu", cubic=True) * (3, 3, 3)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(frames):
            atoms = crystal.copy()
            atoms.positions += 0.05 * rng.normal(size=atoms.positions.shape)
            labels = {"energy": rng.normal(), "forces": rng.normal(size=atoms.positions.shape)}
            atoms.calc = SinglePointCalculator(atoms, **labels)
            write(file, atoms, format="extxyz")


def read(path: str, storage: str) -> None:
    """Prepare, look, sum up, and go through an epoch; prints the largest memory in MiB."""
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    spec = XyzSpec(path=path, storage=storage, processes=1, batch_size={"edges": 50_000}, cache_dir=f"{path}-{storage}")
    splits = load(spec, 5.0, LABELS)
    check_data(splits, Requirements(LABELS, "energy", "forces"))
    compute_statistics(splits.train)
    prepared = time.perf_counter()
    frames = sum(batch.num_graphs for batch in DataModule(splits, spec).train_dataloader())
    assert frames == len(splits.train)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = f"{prepared - began:5.1f} s to prepare, {time.perf_counter() - prepared:4.1f} s an epoch"
    print(f"{(peak - start) / 1024:6.0f} MiB above {start / 1024:.0f}, {seconds}")


def main() -> None:
    with TemporaryDirectory() as folder:
        for frames in map(int, sys.argv[1:] or ["500", "2000"]):
            path = Path(folder) / f"{frames}.xyz"
            make(path, frames)
            for storage in ("memory", "disk"):
                done = subprocess.run(
                    [sys.executable, __file__, str(path), storage], check=True, capture_output=True, text=True
                )
                print(f"{frames:6} frames, {storage:6}: {done.stdout.strip()}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[2] in ("memory", "disk"):
        read(*sys.argv[1:])
    else:
        main()

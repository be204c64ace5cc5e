"""Measure the reading of XYZ files, plain and compressed: seconds of CPU and the largest memory until the graphs of all
frames are prepared, and until ``e3frame check`` has looked at some.

    python scripts/bench_reading.py --frames 100000 --processes 2

Frames are molecules of nine atoms with energies and forces, some 620 bytes each.
"""

from __future__ import annotations

import argparse
import gzip
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from e3frame.data.pipeline.loader import excerpt, recipe_of
from e3frame.data.pipeline.preparation import prepared
from e3frame.data.sources.base import Label
from e3frame.data.sources.xyz import XyzSpec

LABELS = {"energy": Label("graph"), "forces": Label("node", (3,))}
SYMBOLS = "CCOHHHHHH"
HEADER = '9\nProperties=species:S:1:pos:R:3:forces:R:3 energy={:.8f} pbc="F F F"\n'
ROW = "%-2s" + " %15.8f" * 6 + "\n"


def make(path: Path, frames: int) -> None:
    """Shaken atoms around random places."""
    rng = np.random.default_rng(0)
    rest = 1.5 * rng.normal(size=(9, 3))
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        for _ in range(frames):
            values = np.hstack([rest + 0.02 * rng.normal(size=(9, 3)), rng.normal(size=(9, 3))])
            rows = (ROW % (symbol, *row) for symbol, row in zip(SYMBOLS, values, strict=True))
            file.write(HEADER.format(rng.normal()) + "".join(rows))


def read(path: str, what: str, processes: int) -> None:
    """Prints the seconds and the memory that it takes in this process and its children."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    spec = XyzSpec(path=path, processes=processes, cache_dir=f"{path}-cache")
    if what == "all":
        recipe = recipe_of(spec, 4.0, LABELS)
        frames = sum(len(chunk.counts["z"]) for chunk in prepared(recipe, processes))
    else:
        frames = sum(len(dataset) for _, dataset in excerpt(spec, 4.0, LABELS).splits.items())
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    used = own.ru_utime + own.ru_stime - before.ru_utime - before.ru_stime
    cpu = used + children.ru_utime + children.ru_stime
    memory = f"{own.ru_maxrss / 1024:.0f} MiB, {before.ru_maxrss / 1024:.0f} before"
    print(f"{frames:>9,} frames: {time.perf_counter() - began:7.1f} s, {cpu:7.1f} s of CPU, {memory}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--read", nargs=2, metavar=("FILE", "WHAT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read(*options.read, options.processes)
        return
    with TemporaryDirectory(prefix="bench-reading-") as folder:
        for suffix in (".xyz", ".xyz.gz"):
            path = Path(folder) / f"frames{suffix}"
            make(path, options.frames)
            print(f"{suffix}, {path.stat().st_size / 1e6:.0f} MB")
            for what in ("some", "all"):  # each in a process of its own, whose memory it is
                more = ["--processes", str(options.processes), "--read", str(path), what]
                subprocess.run([sys.executable, __file__, *more], check=True)


if __name__ == "__main__":
    main()

"""Preparation by several processes, killed halfway, twice at once; and frames that cannot be prepared."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read as ase_read
from ase.io import write

from e3frame.data.pipeline.dataset import GraphDataset
from e3frame.data.pipeline.loader import load, prepare, recipe_of
from e3frame.data.pipeline.preparation import prepared
from e3frame.data.sources.base import Label
from e3frame.data.sources.xyz import XyzSpec
from e3frame.spec.errors import DataError

LABELS = {"energy": Label("graph"), "forces": Label("node", (3,))}
LOAD = """
import sys
from e3frame.data.pipeline.loader import load
from e3frame.data.sources.base import Label
from e3frame.data.sources.xyz import XyzSpec
labels = {"energy": Label("graph"), "forces": Label("node", (3,))}
print("ready", flush=True)
splits = load(XyzSpec(path=sys.argv[1], processes=int(sys.argv[2]), storage=sys.argv[3]), 4.0, labels)
print(float(splits.train.stacked("forces").sum()))
"""


HELD = """
import sys
from e3frame.data.pipeline import disk

fill = disk._fill

def held(part, chunks, files):
    def all_but_the_last():
        for number, chunk in enumerate(chunks):
            yield chunk
            if number == 1:
                print("writing", flush=True)
                sys.stdin.readline()
    fill(part, all_but_the_last(), files)

disk._fill = held
"""
"""Put before LOAD: it waits with two of three pieces in the file."""


def in_pieces(path: Path, processes: int) -> GraphDataset:
    spec = XyzSpec(path=str(path))
    recipe = replace(recipe_of(spec, 4.0, LABELS), piece=3)
    return GraphDataset.from_chunks(prepared(recipe, processes), recipe.files)


def test_processes_change_nothing(xyz: Path) -> None:
    one, two = in_pieces(xyz, 1), in_pieces(xyz, 2)
    assert len(one) == len(two) == 10
    for key in ("pos", "edge_index", "edge_shift", "energy", "forces", "frame"):
        assert torch.equal(one.stacked(key), two.stacked(key))


def test_the_first_wrong_frame_is_the_one_that_is_told(xyz: Path) -> None:
    frames = ase_read(xyz, ":")
    for k in (5, 8):
        frames[k].positions[2] += 40.0
    write(xyz, frames, format="extxyz")
    for processes in (1, 2):
        with pytest.raises(DataError) as caught:
            in_pieces(xyz, processes)
        assert str(caught.value) == (
            f"{xyz}, frame 5\n  atom 2 (H) has no neighbour within r_max = 4 Å\n"
            "  raise model.r_max, or check data.units.length\n"
            "  if isolated atoms are intended: data.allow=[isolated_atoms]"
        )


def test_killed_halfway_and_twice_at_once(xyz: Path, cache: Path, frames: Callable[..., list[Atoms]]) -> None:
    write(xyz, frames(1500), format="extxyz")
    command = [sys.executable, "-c", LOAD, str(xyz), "1", "memory"]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"E3FRAME_CACHE": str(cache)})
    assert started.stdout.readline() == b"ready\n"
    time.sleep(0.1)
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert not list(cache.glob("*.safetensors"))
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1]
    (kept,) = cache.glob("*")
    assert kept.suffix == ".safetensors"
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stdout == said[0]
    assert "damaged" not in again.stderr


def test_killed_while_it_writes_to_disk(xyz: Path, cache: Path, frames: Callable[..., list[Atoms]]) -> None:
    """What it left is cleared by the next one, but not while it lives; its own processes end with it."""
    write(xyz, frames(1500), format="extxyz")
    command = [sys.executable, "-c", HELD + LOAD, str(xyz), "2", "disk"]
    writing = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert [writing.stdout.readline() for _ in range(2)] == ["ready\n", "writing\n"]
    (part,) = cache.glob("*.part")
    assert part.stat().st_size > 50_000
    spec = XyzSpec(path=str(xyz), processes=1, storage="disk")
    path = prepare(spec, recipe_of(spec, 4.0, LABELS)).cached
    assert sorted(cache.iterdir()) == sorted([part, path])
    path.unlink()
    writing.kill()
    assert writing.communicate(timeout=60) == ("", None)  # what its workers could write to is closed, too
    assert list(cache.iterdir()) == [part]
    again = prepare(spec, recipe_of(spec, 4.0, LABELS))
    assert list(cache.iterdir()) == [path]
    assert len(again) == 1500
    assert again[1499].frame == 1499


def replaced(frames: list[Atoms], atoms: Atoms) -> list[Atoms]:
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((len(atoms), 3)))
    return [*frames[:4], atoms, *frames[5:]]


WRONG = {
    "coincident atoms": (
        Atoms("CH3", [[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 0.001]]),
        "atoms 2 and 3 are at the same place: 0.001 Å from each other",
    ),
    "a zero cell": (
        Atoms("CH", [[0, 0, 0], [0, 0, 1]], cell=np.zeros((3, 3)), pbc=True),
        "the frame is periodic, but its cell vectors are linearly dependent: "
        "[[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]",
    ),
    "a cell that is far too small": (
        Atoms("CH", [[0, 0, 0], [0, 0, 0.2]], cell=[0.4, 0.4, 0.4], pbc=True),
        "the cell has 0.064 Å^3 for 2 atoms: check data.units.length",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_structures_that_cannot_be(case: str, tmp_path: Path, frames: Callable[..., list[Atoms]]) -> None:
    atoms, message = WRONG[case]
    path = tmp_path / "a.traj"
    write(path, replaced(frames(), atoms.copy()))
    with pytest.raises(DataError) as caught:
        load(XyzSpec(path=str(path)), 4.0, LABELS)
    assert str(caught.value) == f"{path}, frame 4\n  {message}"


def test_labels_that_may_be_missing(tmp_path: Path, frames: Callable[..., list[Atoms]]) -> None:
    """NaN stands where there is no label, but never because nobody allowed it."""
    made = frames(10)
    for k, atoms in enumerate(made):
        atoms.set_cell([9.0, 9.0, 9.0])
        atoms.pbc = k % 2 == 0
        if k % 2 == 0:
            atoms.info["S"] = np.arange(1.0, 7.0)
    path = tmp_path / "a.xyz"
    write(path, made, format="extxyz")
    labels, keys = {"stress": Label("graph", (3, 3))}, {"stress": "S"}
    spec = XyzSpec(path=str(path), keys=keys, allow_missing=("stress",), split={"val": 0, "test": 0})
    stress = load(spec, 4.0, labels).train.stacked("stress")
    assert stress.isnan().flatten(1).all(1).tolist() == [k % 2 == 1 for k in range(10)]
    assert stress[0].tolist() == [[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]]
    with pytest.raises(DataError) as caught:
        load(XyzSpec(path=str(path), keys=keys), 4.0, labels)
    assert str(caught.value).startswith(f"{path}, frame 1\n  no key 'S' for the label stress\n")
    none = XyzSpec(path=str(path), keys={"stress": "T"}, allow_missing=("stress",))
    with pytest.raises(DataError) as caught:
        load(none, 4.0, labels)
    assert str(caught.value) == f"{path}\n  no frame has the label stress"


def test_a_stress_that_cannot_be(tmp_path: Path, frames: Callable[..., list[Atoms]]) -> None:
    path, labels = tmp_path / "a.xyz", {"stress": Label("graph", (3, 3))}
    made = frames(10)
    for atoms in made:
        atoms.info["S"] = np.arange(9.0)
    write(path, made, format="extxyz")
    with pytest.raises(DataError) as caught:
        load(XyzSpec(path=str(path), keys={"stress": "S"}), 4.0, labels)
    assert str(caught.value).startswith(f"{path}, frame 0\n  stress needs a periodic cell, but this frame has none\n")
    for atoms in made:
        atoms.set_cell([9.0, 9.0, 9.0])
        atoms.pbc = True
    write(path, made, format="extxyz")
    with pytest.raises(DataError, match="the stress is not symmetric"):
        load(XyzSpec(path=str(path), keys={"stress": "S"}), 4.0, labels)
    with pytest.raises(DataError) as caught:
        load(XyzSpec(path=str(path), keys={"stress": "S"}), 4.0, {"stress": Label("graph", (6,))})
    assert "S has shape (9,), but the label stress needs (6,)" in str(caught.value)

"""What is kept on disk: found again, rebuilt when it is damaged or belongs to something else."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ase.io import read as ase_read
from ase.io import write

from e3frame.data.formats import ase_files as frames_module
from e3frame.data.pipeline import dataset as module
from e3frame.data.pipeline.dataset import GraphDataset, write_atomically
from e3frame.data.pipeline.loader import prepare, recipe_of
from e3frame.data.pipeline.statistics import compute_statistics
from e3frame.data.sources.base import Label
from e3frame.data.sources.xyz import XyzSpec
from e3frame.files import parts

LABELS = {"energy": Label("graph"), "forces": Label("node", (3,))}


def read(path: Path, r_max: float = 4.0, labels: dict[str, Label] = LABELS, **options: object) -> GraphDataset:
    spec = XyzSpec.model_validate({"path": str(path), **options})
    return prepare(spec, recipe_of(spec, r_max, labels))


def same(one: GraphDataset, other: GraphDataset) -> bool:
    return len(one) == len(other) and all(
        set(a.keys()) == set(b.keys()) and all(torch.equal(a[key], b[key]) for key in a.keys())  # noqa: SIM118
        for a, b in zip(one, other, strict=True)
    )


def kept(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.safetensors"))


def test_the_second_time_nothing_is_read(xyz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(xyz)
    monkeypatch.setattr(frames_module, "iread", None)
    second = read(xyz)
    assert same(first, second)
    assert second.files == (str(xyz),)
    assert first.cached == second.cached


def test_one_frame(xyz: Path) -> None:
    write(xyz, ase_read(xyz, index=0))
    assert len(read(xyz)) == 1
    assert same(read(xyz), read(xyz))
    assert read(xyz)[[0]].stacked("z").tolist() == read(xyz)[0].z.tolist()


def test_anything_that_changes_the_graphs_changes_the_key(xyz: Path, cache: Path) -> None:
    read(xyz)
    read(xyz, r_max=3.9)
    read(xyz, labels={"energy": LABELS["energy"]})
    read(xyz, units={"energy": "meV"})
    read(xyz, keys={"energy": "energy", "forces": "forces", "dipole": "mu"})  # not asked for: the same graphs
    read(xyz, split={"train": 3}, batch_size=2)  # the same again
    assert len(kept(cache)) == 4
    xyz.write_text(xyz.read_text().replace("C  ", "N  ", 1))
    assert read(xyz)[0].z[0] == 7
    assert len(kept(cache)) == 5


def test_another_name_of_the_same_file_is_the_one_in_messages(xyz: Path, cache: Path) -> None:
    read(xyz)
    assert read(xyz.rename(xyz.with_name("other.xyz"))).where(3) == (str(xyz.with_name("other.xyz")), 3)
    assert len(kept(cache)) == 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "replaced"])
def test_a_damaged_file_is_made_anew(damage: str, xyz: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = read(xyz)
    (path,) = kept(cache)
    intact = path.read_bytes()
    flipped = bytearray(intact)
    flipped[-5] ^= 1
    damaged = {"cut": intact[:-100], "flipped": bytes(flipped), "emptied": b"", "replaced": b"no tensors"}[damage]
    path.write_bytes(damaged)
    with caplog.at_level(logging.WARNING):
        second = read(xyz)
    assert f"{path} is damaged and is rebuilt" in caplog.text
    assert same(first, second)
    assert path.read_bytes() == intact


def test_nothing_is_kept_of_a_file_that_is_wrong(xyz: Path, cache: Path) -> None:
    xyz.write_text(xyz.read_text()[:-200])
    with pytest.raises(module.DataError):
        read(xyz)
    assert not cache.exists()


def test_writing_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is stopped before the last step leaves the old content."""
    path = tmp_path / "kept"
    assert write_atomically(path, b"old") == path
    with monkeypatch.context() as patch:
        patch.setattr(parts.os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_unfinished_files_of_processes_that_are_gone(xyz: Path, cache: Path) -> None:
    path, here = read(xyz).cached, parts._here()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone, stays = f"{here}-{ended.pid}-0a1b.part", f"{here}-{os.getpid()}-0a1b.part"
    assert re.fullmatch(rf"{re.escape(path.name)}\.{here}-{os.getpid()}-\w+\.part", parts.part_of(path).name)
    left = [f"{path.name}.{gone}", f"{path.stem}.db.{gone}", f"{path.stem}-0a1b.json.{gone}"]
    kept = [f"{path.name}.{stays}", f"{path.stem}.db.{stays}"]
    kept += [f"xyz-0a1b.db.{gone}"]  # another set
    kept += [f"{path.name}.0123456789ab-{ended.pid}-0a1b.part", f"{path.name}.0a1b.part"]  # by nobody knows whom
    for name in left + kept:
        (cache / name).touch()
    read(xyz)
    assert sorted(file.name for file in cache.glob("*.part")) == sorted(kept)


def test_an_unfinished_file_that_cannot_be_removed(xyz: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = read(xyz).cached
    monkeypatch.setattr(parts, "_is_gone", lambda pid: True)
    part = parts.part_of(path)
    part.mkdir()
    assert len(read(xyz)) == 10
    assert part.exists()


def test_a_folder_that_cannot_be_written_is_no_obstacle(xyz: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocker = xyz.with_name("file")
    blocker.write_text("")
    with caplog.at_level(logging.WARNING):
        dataset = read(xyz, cache_dir=str(blocker / "cache"))
    assert len(dataset) == 10
    assert dataset.cached is None
    assert ", so the prepared data are not cached" in caplog.text
    assert compute_statistics(dataset).species == ("H", "C", "O")


def test_statistics_are_kept_per_subset(xyz: Path, cache: Path) -> None:
    dataset = read(xyz)
    first, part = compute_statistics(dataset), compute_statistics(dataset[:5])
    assert first != part
    stored = sorted(cache.glob("*.json"))
    assert len(stored) == 2
    assert compute_statistics(read(xyz)) == first
    for path in stored:
        path.write_text(path.read_text()[:30])
    assert compute_statistics(read(xyz)) == first
    assert compute_statistics(read(xyz)[range(5)]) == part

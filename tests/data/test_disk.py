"""Sets on disk: the same frames as in memory, written as they come and read one by one."""

from __future__ import annotations

import logging
import pickle
import sqlite3
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write
from torch_geometric.data import OnDiskDataset

from e3frame.data.pipeline import frameset
from e3frame.data.pipeline.dataset import GraphDataset
from e3frame.data.pipeline.disk import DiskDataset
from e3frame.data.pipeline.disk import write as write_disk
from e3frame.data.pipeline.loader import load, prepare, recipe_of
from e3frame.data.pipeline.module import make_loader
from e3frame.data.pipeline.preparation import Chunk, pack, prepared
from e3frame.data.pipeline.statistics import compute_statistics, label_range
from e3frame.data.sources.base import Label, parse_data
from e3frame.data.sources.budget import Budget
from e3frame.data.sources.sample import SampleSpec
from e3frame.data.sources.xyz import XyzSpec
from e3frame.preflight import checks as checks_module
from e3frame.preflight.checks import Requirements, check_data
from e3frame.preflight.duplicates import check_duplicates
from e3frame.spec.errors import DataError

LABELS = {"energy": Label("graph"), "forces": Label("node", (3,))}


def both(path: Path, **options: object) -> tuple[GraphDataset, DiskDataset]:
    specs = [XyzSpec(path=str(path), storage=storage, **options) for storage in ("memory", "disk")]
    memory, disk = (prepare(spec, recipe_of(spec, 4.0, LABELS)) for spec in specs)
    assert isinstance(memory, GraphDataset)
    assert isinstance(disk, DiskDataset)
    assert isinstance(disk, OnDiskDataset)
    return memory, disk


def assert_same(one: frameset.FrameSet, other: frameset.FrameSet) -> None:
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        assert sorted(a.keys()) == sorted(b.keys())
        for key in a.keys():  # noqa: SIM118
            assert a[key].dtype == b[key].dtype
            assert torch.equal(a[key], b[key]), key


@pytest.fixture
def mixed(tmp_path: Path, frames: Callable[..., list[Atoms]]) -> Path:
    """Molecules of two kinds, and a lone atom, which has no edges."""
    path = tmp_path / "mixed.xyz"
    lone = frames(1, "H")
    write(path, [*frames(7), *frames(6, "H2O", 1), *lone, *frames(5, "CH3OH", 2)], format="extxyz")
    return path


def test_the_same_frames_and_subsets(mixed: Path, cache: Path) -> None:
    memory, disk = both(mixed)
    assert_same(memory, disk)
    assert disk.cached == memory.cached.with_suffix(".db")
    assert disk.cached.exists()
    assert not list(cache.glob("*.part"))
    for chosen in (slice(3, 15), [13], [17, 2, 5], np.array([1, 13]), torch.tensor([4, 0])):
        assert_same(memory[chosen], disk[chosen])
        assert_same(memory[chosen][[0]], disk[chosen][[0]])
        assert disk[chosen].species == memory[chosen].species
        assert torch.equal(disk[chosen].counts("edge_index"), memory[chosen].counts("edge_index"))
    assert disk.where(13) == memory.where(13) == (str(mixed), 13)
    assert disk.has("forces")
    assert not disk.has("dipole")
    with pytest.raises(IndexError):
        disk[[3, 4]][2]


@pytest.mark.parametrize("block", [1, 4, 1024])
def test_what_is_summed_block_by_block(block: int, mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frameset, "BLOCK", block)
    memory, disk = both(mixed)
    for chosen in (slice(None), slice(2, 15), slice(0, 19, 3), [13, 4, 9]):
        one, other = memory[chosen], disk[chosen]
        for key in ("z", "forces", "edge_index", "cell", "frame"):
            whole = torch.cat([graph[key] for graph in memory[list(one.indices())]], 1 if key == "edge_index" else 0)
            assert torch.equal(one.stacked(key), whole)
            assert torch.equal(other.stacked(key), whole)
        found = label_range(other, "forces")
        values = one.stacked("forces").numpy()
        assert found == label_range(one, "forces")
        expected = (values.min(), values.max(), values.mean(), values.std(), 0)
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
    energies = disk.stacked("energy")
    assert len(energies) == 19
    frame = torch.cat([block_.frame for block_ in disk.blocks("z")])
    assert len(frame) == len(disk.stacked("z"))


@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_neighbours_that_are_found_when_a_frame_is_read(storage: str, mixed: Path, cache: Path) -> None:
    stored, _ = both(mixed)
    spec = XyzSpec(path=str(mixed), storage=storage, neighbors="computed", cache_dir=str(cache / "bare"))
    for _ in range(2):  # made, and found again
        bare = prepare(spec, recipe_of(spec, 4.0, LABELS))
        assert not bare.has("edge_index")
        assert_same(stored, bare)
        assert_same(stored[[13, 4]], bare[[13, 4]])
        assert torch.equal(stored[3:15].counts("edge_index"), bare[3:15].counts("edge_index"))
        assert compute_statistics(bare) == compute_statistics(stored)
        for one, other in zip(*(make_loader(d, Budget(edges=70), seed=1) for d in (stored, bare)), strict=True):
            assert torch.equal(one.edge_index, other.edge_index)
    suffix = {"memory": "safetensors", "disk": "db"}[storage]
    (path,) = (cache / "bare").glob(f"*.{suffix}")
    assert path.stem != stored.cached.stem


def test_neighbours_of_the_other_sources(tmp_path: Path) -> None:
    for storage in ("memory", "disk"):
        found = [
            load(SampleSpec(neighbors=neighbors, storage=storage, cache_dir=str(tmp_path)), 3.0, LABELS).val
            for neighbors in ("stored", "computed")
        ]
        assert_same(*found)
        assert [dataset.has("edge_index") for dataset in found] == [True, False]


def test_statistics_have_the_same_bits(mixed: Path, cache: Path) -> None:
    memory, disk = both(mixed)
    found = compute_statistics(disk)
    for path in cache.glob("*.json"):
        path.unlink()
    assert compute_statistics(memory) == found


def test_batches_with_workers_shuffling_and_budgets(mixed: Path) -> None:
    memory, disk = (dataset[2:18] for dataset in both(mixed))
    for size, workers in ((3, 0), (3, 2), (Budget(atoms=20), 0), (Budget(edges=70), 1)):
        loaders = [make_loader(dataset, size, seed=1, num_workers=workers) for dataset in (memory, disk)]
        # The connection of this process is open when the workers begin, and still good when they are through.
        assert disk[0].num_nodes == memory[0].num_nodes
        for one, other in zip(*loaders, strict=True):
            assert one.keys() == other.keys()
            assert all(torch.equal(one[key], other[key]) for key in one.keys())  # noqa: SIM118
        assert disk[1].num_nodes == memory[1].num_nodes


def test_it_can_be_sent_to_another_process(mixed: Path) -> None:
    _, disk = both(mixed)
    assert disk[0].num_nodes == 6
    assert_same(pickle.loads(pickle.dumps(disk[3:9])), disk[3:9])


def test_changing_a_graph_changes_nothing_on_disk(mixed: Path) -> None:
    _, disk = both(mixed)
    graph = disk[0]
    before = graph.pos.clone()
    graph.pos += 1
    assert torch.equal(disk[0].pos, before)


def test_splits_preflight_and_duplicates(tmp_path: Path) -> None:
    found = []
    for storage in ("memory", "disk"):
        spec = SampleSpec(num_train=90, storage=storage, cache_dir=str(tmp_path))
        splits = load(spec, 3.0, LABELS)
        findings = check_data(splits, Requirements(LABELS, "energy", "forces"))
        frames = [dataset.stacked("frame").tolist() for _, dataset in splits.items()]
        found.append((frames, findings, check_duplicates(splits)))
    assert found[0] == found[1]
    assert len(found[1][1]) > 3


@pytest.mark.parametrize(
    "options",
    [
        {"method": "random", "train": 8, "val": 2, "test": 3},
        {"method": "group", "key": "name", "train": 0.6, "val": 0.2, "test": 0.2},
        {"method": "time"},
    ],
)
def test_every_method_of_splitting(options: dict, tmp_path: Path, frames: Callable[..., list[Atoms]]) -> None:
    made = frames(20)
    for k, atoms in enumerate(made):
        atoms.info["name"] = f"m{k // 4}"
    write(tmp_path / "a.xyz", made, format="extxyz")
    raw = {"kind": "xyz", "path": str(tmp_path / "a.xyz"), "split": options}
    one, other = (load(parse_data(raw | {"storage": storage}), 4.0, LABELS) for storage in ("memory", "disk"))
    for (_, a), (_, b) in zip(one.items(), other.items(), strict=True):
        assert_same(a, b)


def test_labels_that_differ_in_case_alone(tmp_path: Path, frames: Callable[..., list[Atoms]]) -> None:
    made = frames(3)
    for atoms in made:
        atoms.info |= {"a": 1.0, "A": 2.0}
    write(tmp_path / "a.xyz", made, format="extxyz")
    spec = XyzSpec(path=str(tmp_path / "a.xyz"), keys={"a": "a", "A": "A"}, storage="disk")
    disk = prepare(spec, recipe_of(spec, 4.0, {"a": Label("graph"), "A": Label("graph")}))
    assert (disk[0].a.item(), disk[0].A.item()) == (1.0, 2.0)


def test_it_is_written_as_it_comes(mixed: Path, tmp_path: Path) -> None:
    """When the last frames are asked for, the first ones are no longer held."""
    memory, _ = both(mixed)
    path = tmp_path / "streamed.db"
    sizes = []

    def chunks() -> chain[Chunk]:
        for graph in memory:
            sizes.append(sum(part.stat().st_size for part in tmp_path.glob("streamed.db.*.part")))
            yield pack([graph])

    write_disk(path, ["a"], chunks)
    assert len(set(sizes)) > 2
    assert sizes == sorted(sizes)
    assert path.exists()


def test_the_second_time_nothing_is_written(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, disk = both(mixed)
    before = disk.cached.stat()
    monkeypatch.setattr("e3frame.data.pipeline.disk._fill", None)
    _, again = both(mixed)
    assert again.cached.stat() == before
    assert_same(disk, again)


@pytest.mark.parametrize("damage", ["cut", "emptied", "replaced", "counts"])
def test_a_damaged_file_is_made_anew(damage: str, mixed: Path, caplog: pytest.LogCaptureFixture) -> None:
    memory, disk = both(mixed)
    path, intact = disk.cached, disk.cached.read_bytes()
    if damage == "counts":
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE contents SET atoms = zeroblob(length(atoms))")
        connection.close()
    else:
        path.write_bytes({"cut": intact[:-4096], "emptied": b"", "replaced": b"no table"}[damage])
    with caplog.at_level(logging.WARNING):
        _, again = both(mixed)
    assert f"{path} is damaged and is rebuilt" in caplog.text
    assert_same(memory, again)


def test_a_frame_that_is_damaged_is_not_trained(mixed: Path) -> None:
    _, disk = both(mixed)
    with sqlite3.connect(disk.cached) as connection:
        connection.execute("UPDATE DiskDataset SET COL_0 = zeroblob(length(COL_0)) WHERE id = 4")
    connection.close()
    _, again = both(mixed)
    assert again[3].num_nodes == 6
    with pytest.raises(DataError) as caught:
        again[4]
    assert str(caught.value) == f"{disk.cached}\n  entry 4 is damaged\n  delete the file to rebuild it"


def test_a_wrong_frame_leaves_nothing(mixed: Path, cache: Path) -> None:
    mixed.write_text(mixed.read_text()[:-200])
    with pytest.raises(DataError, match="the file ends after"):
        both(mixed, processes=1)
    spec = XyzSpec(path=str(mixed), storage="disk")
    with pytest.raises(DataError, match="the file ends after"):
        prepare(spec, recipe_of(spec, 4.0, LABELS))
    assert not list(cache.glob("*.part"))
    assert not list(cache.glob("*.db"))


def test_a_folder_that_cannot_be_written(xyz: Path) -> None:
    blocker = xyz.with_name("file")
    blocker.write_text("")
    spec = XyzSpec(path=str(xyz), storage="disk", cache_dir=str(blocker / "cache"))
    with pytest.raises(DataError) as caught:
        prepare(spec, recipe_of(spec, 4.0, LABELS))
    assert str(caught.value).splitlines()[1:] == [
        "  cannot be written, but data.storage=disk needs it: Not a directory",
        "  set data.cache_dir to a folder with free space, or data.storage=memory",
    ]


def test_a_disk_that_is_full(xyz: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("e3frame.data.pipeline.disk.SQLiteDatabase.multi_insert", full)
    with pytest.raises(DataError) as caught:
        load(XyzSpec(path=str(xyz), storage="disk"), 4.0, LABELS)
    assert "cannot be written, but data.storage=disk needs it: database or disk is full" in str(caught.value)
    assert not list(cache.iterdir())


def test_outliers_are_sought_among_what_fits_into_memory(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, disk = both(mixed)
    monkeypatch.setattr(checks_module, "MAX_ROWS", 40)
    assert len(checks_module._thinned(disk, {})) == 7  # 91 atoms: every third frame
    assert len(checks_module._thinned(disk, {"J": Label("edge")})) < 7  # there are more edges than atoms
    monkeypatch.setattr(checks_module, "MAX_ROWS", 10**6)
    assert len(checks_module._thinned(disk, {})) == 19


def test_no_frames(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        write_disk(tmp_path / "a.db", ["a.xyz"], lambda: [])
    assert str(caught.value) == "a.xyz\n  no frames"
    assert not list(tmp_path.iterdir())


def test_in_pieces_by_several_processes(mixed: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from e3frame.data.pipeline.disk import open_or_write

    spec = XyzSpec(path=str(mixed))
    recipe = replace(recipe_of(spec, 4.0, LABELS), piece=3)
    disk = open_or_write(tmp_path / "pieces.db", recipe.files, lambda: prepared(recipe, 2))
    assert_same(disk, both(mixed)[0])

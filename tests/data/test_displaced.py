"""Random shifts of the atoms of training frames."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ase import Atoms
from ase.build import bulk
from torch_geometric.data import Batch

from e3frame.data.pipeline.batches import DisplacedFrames, Draw, Noise, Place
from e3frame.data.pipeline.dataset import GraphDataset, Splits
from e3frame.data.pipeline.graphs import Graph, make_graph
from e3frame.data.pipeline.loader import load
from e3frame.data.pipeline.module import DataModule, make_loader
from e3frame.data.sources.budget import Budget
from e3frame.data.sources.sample import LABELS, SampleSpec

NOISE = Noise(0.05, 3.0)


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    spec = SampleSpec(num_train=50, cache_dir=str(tmp_path_factory.mktemp("sample")))
    return load(spec, 3.0, LABELS)


def epoch(dataset: GraphDataset, number: int = 0, noise: Noise | None = NOISE, **options: object) -> list[Batch]:
    loader = make_loader(dataset, options.pop("size", 8), **{"seed": 0, **options}, noise=noise)
    loader.batch_sampler.sampler.set_epoch(number)
    return list(loader)


def same(one: list[Batch], other: list[Batch]) -> bool:
    assert len(one) == len(other) > 0
    return all(torch.equal(a[key], b[key]) for a, b in zip(one, other, strict=True) for key in ("pos", "edge_index"))


def test_positions_and_neighbours_change_and_nothing_else(splits: Splits) -> None:
    plain, noisy = epoch(splits.train, noise=None), epoch(splits.train)
    shifts = torch.cat([b.pos - a.pos for a, b in zip(plain, noisy, strict=True)])
    assert shifts.std() == pytest.approx(0.05, rel=0.1)
    assert abs(shifts.mean()) < 0.01
    for a, b in zip(plain, noisy, strict=True):
        for key in ("z", "cell", "pbc", "frame", "file", "batch", *LABELS):
            assert torch.equal(a[key], b[key]), key
        assert (b.edge_index[1].diff() >= 0).all()
    assert any(a.num_edges != b.num_edges for a, b in zip(plain, noisy, strict=True))


def test_neighbours_are_those_of_the_shifted_atoms() -> None:
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    frames = GraphDataset.from_graphs([make_graph(atoms, 3.0)] * 2)
    found: Graph = DisplacedFrames(frames, NOISE, 3)[Draw(5, 1)]
    shifted = Atoms(atoms.numbers, found.pos.numpy(), cell=atoms.cell, pbc=True)
    expected = make_graph(shifted, 3.0)
    assert torch.equal(found.edge_index, expected.edge_index)
    assert torch.equal(found.edge_shift, expected.edge_shift)
    assert torch.equal(frames[1].pos, torch.from_numpy(atoms.positions))


def test_seed_epoch_and_frame_decide(splits: Splits) -> None:
    first = epoch(splits.train)
    assert same(first, epoch(splits.train))
    assert same(first, epoch(splits.train, num_workers=2))
    by_frame = [{int(g.frame): g.pos for batch in epoch(splits.train, k) for g in batch.to_data_list()} for k in (0, 1)]
    assert by_frame[0].keys() == by_frame[1].keys()
    assert not any(torch.equal(by_frame[0][frame], by_frame[1][frame]) for frame in by_frame[0])
    other = {int(g.frame): g.pos for batch in epoch(splits.train, seed=1) for g in batch.to_data_list()}
    assert not any(torch.equal(by_frame[0][frame], other[frame]) for frame in other)


def test_it_goes_on_where_it_stopped_and_is_shared(splits: Splits) -> None:
    whole = epoch(splits.train, 2)
    assert same(epoch(splits.train, 2, place=Place(epoch=2, batch=3)), whole[3:])
    parts = [epoch(splits.train, 2, place=Place(rank=rank, world=2)) for rank in range(2)]
    shared = {int(g.frame): g.pos for part in parts for batch in part for g in batch.to_data_list()}
    alone = {int(g.frame): g.pos for batch in whole for g in batch.to_data_list()}
    assert all(torch.equal(shared[frame], alone[frame]) for frame in alone)


def test_budgets_count_the_frames_as_they_are(splits: Splits) -> None:
    plain, noisy = (epoch(splits.train, noise=noise, size=Budget(edges=300)) for noise in (None, NOISE))
    assert [batch.frame.tolist() for batch in plain] == [batch.frame.tolist() for batch in noisy]


def test_validation_and_test_see_the_frames_as_they_are(splits: Splits, tmp_path: Path) -> None:
    module = DataModule(splits, SampleSpec(augment={"noise": 0.05}), r_max=3.0)
    for loader, dataset in ((module.val_dataloader(), splits.val), (module.test_dataloader(), splits.test)):
        assert torch.equal(torch.cat([batch.pos for batch in loader]), dataset.stacked("pos"))
    assert not torch.equal(next(iter(module.train_dataloader())).pos, epoch(splits.train, noise=None)[0].pos)

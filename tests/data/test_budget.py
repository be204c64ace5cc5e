"""Batches within a budget of atoms or edges."""

from __future__ import annotations

from itertools import chain, pairwise

import pytest
import torch

from e3frame.data.pipeline.batches import Packing, Place, ShuffleSampler, require_room
from e3frame.data.pipeline.dataset import GraphDataset, Splits
from e3frame.data.pipeline.loader import load
from e3frame.data.pipeline.module import make_loader
from e3frame.data.sources.budget import Budget
from e3frame.data.sources.sample import LABELS, SampleSpec
from e3frame.spec.errors import DataError


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    spec = SampleSpec(num_train=203, cache_dir=str(tmp_path_factory.mktemp("sample")))
    return load(spec, 3.0, LABELS)


def epoch(dataset: GraphDataset, budget: Budget, seed: int, number: int, place: Place | None = None) -> list[list[int]]:
    loader = make_loader(dataset, budget, seed=seed, place=place)
    loader.batch_sampler.sampler.set_epoch(number)
    return list(loader.batch_sampler)


@pytest.mark.parametrize("budget", [Budget(atoms=40), Budget(edges=301), Budget(atoms=10_000), Budget(atoms=10)])
def test_every_frame_once_in_batches_that_fit(splits: Splits, budget: Budget) -> None:
    train = splits.train
    sizes = train.counts("z" if budget.unit == "atoms" else "edge_index")
    assert len(sizes.unique()) > 1
    number = len(make_loader(train, budget, seed=0))
    seen = set()
    for k in range(30):
        batches = epoch(train, budget, k % 3, k)
        assert sorted(chain(*batches)) == list(range(len(train)))
        assert all(0 < sizes[batch].sum() <= budget.limit for batch in batches)
        assert len(batches) == number
        seen.add(tuple(chain(*batches)))
    assert len(seen) == 30
    assert epoch(train, budget, 1, 7) == epoch(train, budget, 1, 7)
    smallest = sizes.sum() / budget.limit
    assert number <= max(1.0, 1.25 * smallest) or budget.limit == 10


def test_what_a_batch_holds(splits: Splits) -> None:
    for budget in (Budget(atoms=40), Budget(edges=301)):
        for batch in make_loader(splits.train, budget, seed=0):
            assert (batch.num_nodes if budget.unit == "atoms" else batch.num_edges) <= budget.limit


def test_in_order(splits: Splits) -> None:
    """Each batch takes what fits: one more frame would be too much."""
    budget = Budget(edges=500)
    loader = make_loader(splits.val, budget)
    sizes = splits.val.counts("edge_index")
    batches = list(loader.batch_sampler)
    assert list(chain(*batches)) == list(range(len(splits.val)))
    for batch, after in pairwise(batches):
        assert sizes[batch].sum() <= 500 < sizes[[*batch, after[0]]].sum()
    assert len(loader) == len(batches) == len(list(loader))
    parts = [make_loader(splits.val, budget, place=Place(rank=rank, world=3)) for rank in range(3)]
    frames = [frame for part in parts for batch in part for frame in batch.frame.tolist()]
    assert sorted(frames) == sorted(splits.val.stacked("frame").tolist())


def test_it_goes_on_where_it_stopped_and_is_shared(splits: Splits) -> None:
    budget = Budget(atoms=60)
    whole = epoch(splits.train, budget, 0, 2)
    assert epoch(splits.train, budget, 0, 2, Place(epoch=2, batch=9)) == whole[9:]
    assert epoch(splits.train, budget, 0, 3, Place(epoch=2, batch=9)) == epoch(splits.train, budget, 0, 3)
    parts = [epoch(splits.train, budget, 0, 2, Place(rank=rank, world=2)) for rank in range(2)]
    assert [len(part) for part in parts] == [len(whole)] * 2
    for one, other, batch in zip(*parts, whole, strict=True):
        assert sorted(one + other) == sorted(batch)


def test_more_processes_than_frames_in_a_batch(splits: Splits) -> None:
    """What has no frame of a batch computes one whose result does not count."""
    loader = make_loader(splits.train, Budget(atoms=10), seed=0, place=Place(rank=1, world=2))
    batches = list(loader.batch_sampler)
    lone = {k for k, batch in enumerate(epoch(splits.train, Budget(atoms=10), 0, 0)) if len(batch) == 1}
    assert loader.batch_sampler.surplus == lone
    assert len(lone) > 0
    assert all(batches)


def test_an_order_that_needs_too_many_batches_gives_way(splits: Splits) -> None:
    packing = Packing(splits.train, Budget(edges=301), "batch_size")
    needed = [len(packing.packed(ShuffleSampler(len(splits.train), 0, k).order())) for k in range(200)]
    late = next(k for k, number in enumerate(needed) if number > packing.number)
    batches = packing.shuffled(ShuffleSampler(len(splits.train), 0, late))
    assert len(batches) == packing.number
    assert sorted(chain(*batches)) == list(range(len(splits.train)))


def test_lone_atoms_fill_a_budget_of_edges(splits: Splits) -> None:
    graph = splits.train[0].clone()
    graph.edge_index, graph.edge_shift = graph.edge_index[:, :0], graph.edge_shift[:0]
    lone = GraphDataset.from_graphs([graph] * 10)
    assert [len(batch) for batch in make_loader(lone, Budget(edges=4)).batch_sampler] == [4, 4, 2]


def test_a_frame_that_does_not_fit(splits: Splits) -> None:
    edges = splits.train.counts("edge_index")
    for spec, message in (
        (
            SampleSpec(batch_size={"atoms": 8}),
            "data=sample, frame 0\n  the frame has 9 atoms, but data.batch_size allows 8\n"
            "  'data.batch_size={atoms: 9}' fits the largest frame",
        ),
        (
            SampleSpec(eval_batch_size={"edges": 20}),
            f"data=sample, frame 0\n  the frame has {edges[0]} edges, but data.eval_batch_size allows 20\n"
            f"  'data.eval_batch_size={{edges: {edges.max()}}}' fits the largest frame",
        ),
    ):
        with pytest.raises(DataError) as caught:
            require_room(splits, spec)
        assert str(caught.value) == message
    require_room(splits, SampleSpec(batch_size={"atoms": 9}, eval_batch_size={"edges": 80}))
    with pytest.raises(DataError, match=r"data\.batch_size allows 3"):
        make_loader(splits.train, Budget(atoms=3), seed=0)
    with pytest.raises(DataError, match=r"data\.eval_batch_size allows 3"):
        make_loader(splits.train, Budget(atoms=3))


def test_the_global_seed_has_no_part_in_it(splits: Splits) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        one = epoch(splits.train, Budget(atoms=60), 5, 0)
        torch.manual_seed(2)
        assert epoch(splits.train, Budget(atoms=60), 5, 0) == one

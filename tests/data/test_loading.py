"""Batches: what a model sees, and in which order."""

from __future__ import annotations

import pytest
import torch
from lightning import LightningModule, Trainer
from torch_geometric.data import Batch

from e3frame.data.pipeline.dataset import GraphDataset, Splits
from e3frame.data.pipeline.graphs import model_input
from e3frame.data.pipeline.loader import load
from e3frame.data.pipeline.module import DataModule, make_loader
from e3frame.data.sources.sample import LABELS, SampleSpec


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    spec = SampleSpec(num_train=50, cache_dir=str(tmp_path_factory.mktemp("sample")))
    return load(spec, 3.0, LABELS)


def order(loader: object) -> list[int]:
    return [frame for batch in loader for frame in batch.frame.tolist()]


def test_model_input_of_a_batch(splits: Splits) -> None:
    graphs = [splits.train[k] for k in (0, 20, 45)]
    batch = Batch.from_data_list(graphs)
    given = model_input(batch, torch.float32)
    assert list(given) == ["pos", "z", "edge_index", "edge_shift", "cell", "batch", "num_graphs"]
    assert given["num_graphs"] == 3
    assert given["pos"].dtype == given["edge_shift"].dtype == torch.float32
    assert model_input(batch)["pos"].dtype == torch.float64
    starts = torch.tensor([0, graphs[0].num_nodes, graphs[0].num_nodes + graphs[1].num_nodes])
    expected = torch.cat([graph.edge_index + start for graph, start in zip(graphs, starts, strict=True)], dim=1)
    assert torch.equal(given["edge_index"], expected)
    assert (given["edge_index"][1].diff() >= 0).all()  # still sorted by target
    assert given["batch"].tolist() == [k for k, graph in enumerate(graphs) for _ in range(graph.num_nodes)]
    assert batch.energy.shape == (3,)
    assert batch.polarizability.shape == (3, 3, 3)
    assert batch.cell.shape == (3, 3, 3)


def test_model_input_of_one_graph(splits: Splits) -> None:
    given = model_input(splits.train[0])
    assert given["num_graphs"] == 1
    assert given["batch"].tolist() == [0] * len(given["z"])


def test_labels_whose_names_look_like_indices(splits: Splits) -> None:
    """torch_geometric adds the number of atoms to whatever is called "...index...", and "batch..." too."""
    graph = splits.train[0].clone()
    graph.refractive_index = torch.tensor([[1.5, 1.75]])
    graph.batch_effect = torch.tensor([2.0])
    batch = Batch.from_data_list([graph, graph])
    assert batch.refractive_index.tolist() == [[1.5, 1.75]] * 2
    assert batch.batch_effect.tolist() == [2.0, 2.0]
    assert len(GraphDataset.from_graphs([graph] * 3)) == 3


def test_every_frame_once_in_an_order_of_the_seed(splits: Splits) -> None:
    first, again, other = (make_loader(splits.train, 8, seed=seed) for seed in (0, 0, 1))
    epochs = []
    for epoch in range(3):
        first.batch_sampler.sampler.set_epoch(epoch)
        epochs.append(order(first))
    frames = splits.train.stacked("frame").tolist()
    assert all(sorted(epoch) == frames for epoch in epochs)
    assert epochs[0] != frames
    assert epochs[0] != epochs[1] != epochs[2]
    assert order(again) == epochs[0]
    assert order(other) != epochs[0]
    assert [batch.num_graphs for batch in first] == [8] * 6 + [2]
    again.batch_sampler.sampler.set_epoch(1)
    assert order(again) == epochs[1]
    assert order(make_loader(splits.train, 8)) == frames


def test_workers_change_nothing(splits: Splits) -> None:
    assert order(make_loader(splits.train, 8, seed=0, num_workers=2)) == order(make_loader(splits.train, 8, seed=0))


def test_the_global_seed_has_no_part_in_it(splits: Splits) -> None:
    state = torch.get_rng_state()
    try:
        orders = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            orders.append(order(make_loader(splits.train, 8, seed=5)))
        assert orders[0] == orders[1]
    finally:
        torch.set_rng_state(state)


class Recorder(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[int, list[int]] = {}
        self.validated = 0

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        self.seen.setdefault(self.current_epoch, []).extend(batch.frame.tolist())
        return (self.weight - 1) ** 2

    def validation_step(self, batch: Batch, index: int) -> None:
        self.validated += batch.num_graphs

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(splits: Splits, epochs: int, folder: str, resume: str | None = None) -> tuple[Recorder, Trainer]:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=epochs, num_sanity_val_steps=0, default_root_dir=folder, **quiet)
    model = Recorder()
    trainer.fit(model, DataModule(splits, SampleSpec(), seed=3), ckpt_path=resume)
    return model, trainer


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_run_sees_what_it_would_have_seen(splits: Splits, tmp_path: object) -> None:
    whole, _ = fit(splits, 3, str(tmp_path))
    half, trainer = fit(splits, 2, str(tmp_path))
    trainer.save_checkpoint(f"{tmp_path}/half.ckpt")
    rest, _ = fit(splits, 3, str(tmp_path), f"{tmp_path}/half.ckpt")
    assert whole.validated == 3 * len(splits.val)
    assert whole.seen == half.seen | rest.seen
    assert set(rest.seen) == {2}


def test_a_split_without_frames_has_nothing_to_load(splits: Splits) -> None:
    module = DataModule(Splits(splits.train, None, None), SampleSpec(eval_batch_size=7))
    assert module.val_dataloader() == module.test_dataloader() == []
    assert next(iter(DataModule(splits, SampleSpec(eval_batch_size=7)).val_dataloader())).num_graphs == 7

"""The embedded data set."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from e3frame.data.pipeline.dataset import Splits
from e3frame.data.pipeline.loader import load
from e3frame.data.sources.base import Label
from e3frame.data.sources.sample import FILE, LABELS, MOLECULES, TRAIN_FRAMES, SampleSpec
from e3frame.spec.elements import SYMBOLS
from e3frame.spec.errors import DataError
from e3frame.spec.validate import SpecErrors, validate


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return load(SampleSpec(cache_dir=str(tmp_path_factory.mktemp("sample"))), 4.0, LABELS)


def test_file_holds_what_the_spec_declares() -> None:
    assert FILE.stat().st_size < 2e6
    with np.load(FILE) as arrays:  # no pickle: numpy's default
        assert json.loads(str(arrays["about"]))["molecules"] == list(MOLECULES)
        for name, species in MOLECULES.items():
            assert {SYMBOLS[z] for z in arrays[f"{name}.z"]} == set(species)
            assert arrays[f"{name}.pos"].dtype == np.float32
            assert arrays[f"{name}.energy"].dtype == np.float64
            assert (arrays[f"{name}.split"] == 0).sum() == TRAIN_FRAMES


def test_splits_follow_each_other_in_time_with_gaps() -> None:
    with np.load(FILE) as arrays:
        for name in MOLECULES:
            split, time = arrays[f"{name}.split"], arrays[f"{name}.time"]
            for number in (0, 1):
                assert time[split == number + 1].min() - time[split == number].max() >= 2000.0


def test_sizes_species_and_labels(splits: Splits) -> None:
    assert {name: len(dataset) for name, dataset in splits.items()} == {"train": 1800, "val": 200, "test": 400}
    assert splits.train.species == splits.test.species == SampleSpec().known_species == ("H", "C", "N", "O")
    assert SampleSpec().label_names == ("energy", "forces", "dipole", "polarizability")
    graph, n = splits.val[3], splits.val[3].num_nodes
    shapes = {name: tuple(graph[name].shape) for name in LABELS}
    assert shapes == {"energy": (1,), "forces": (n, 3), "dipole": (1, 3), "polarizability": (1, 3, 3)}
    assert all(graph[name].dtype == torch.float64 for name in LABELS)


def test_labels_are_plausible(splits: Splits) -> None:
    """No net force, a symmetric positive polarizability, forces of thermal size, energies of bound molecules."""
    for _, dataset in splits.items():
        alpha = dataset.stacked("polarizability")
        assert (alpha == alpha.mT).all()
        assert (torch.linalg.eigvalsh(alpha) > 0.1).all()
        net = torch.zeros(len(dataset), 3, dtype=torch.float64)
        net.index_add_(0, torch.arange(len(dataset)).repeat_interleave(dataset.counts("z")), dataset.stacked("forces"))
        assert net.abs().max() < 1e-4
        assert 0.9 < dataset.stacked("forces").std() < 1.3
        assert dataset.stacked("energy").max() < -300


def test_polarizability_turns_with_the_molecule(splits: Splits) -> None:
    """Furan is planar and stiff: seen along its own axes of inertia, the tensor hardly varies, however it is turned."""
    dataset = load(SampleSpec(molecules=("furan",)), 4.0, LABELS).train
    alpha, seen = dataset.stacked("polarizability"), []
    for index, graph in enumerate(dataset):
        centred = graph.pos - graph.pos.mean(0)
        axes = torch.linalg.eigh(centred.T @ centred)[1]
        seen.append((axes.T @ alpha[index] @ axes).diagonal())
    own, laboratory = torch.stack(seen), alpha.diagonal(dim1=1, dim2=2)
    assert own.std(0).max() < 0.35 < laboratory.std(0).min()
    assert own.mean(0)[0] < 0.6 * own.mean(0)[1]  # least across the ring's plane


def test_subsets(splits: Splits) -> None:
    part = load(SampleSpec(molecules=("furan", "ethanol"), num_train=90), 4.0, {"energy": Label("graph")})
    assert [len(dataset) for _, dataset in part.items()] == [90, 100, 200]
    assert part.train.species == SampleSpec(molecules=("furan",)).known_species == ("H", "C", "O")
    frames = part.train.stacked("frame").tolist()
    assert frames == [*range(0, 450, 10), *range(1800, 2250, 10)]
    assert part.train.counts("z").unique().tolist() == [9]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"molecules": ["ethanole"]}, "molecules\n  no molecule is named ethanole\n  did you mean ethanol?"),
        ({"molecules": []}, "molecules"),
        ({"num_train": 1801}, "num_train\n  num_train is 1801, but there are 1800 training frames"),
        (
            {"num_train": 451, "molecules": ["furan"]},
            "num_train\n  num_train is 451, but there are 450 training frames",
        ),
        ({"num_train": 0}, "num_train\n  must be >= 1, got 0"),
    ],
)
def test_mistakes(raw: dict, message: str) -> None:
    with pytest.raises(SpecErrors) as caught:
        validate(SampleSpec, raw)
    assert str(caught.value.errors[0]).startswith(message)


def test_label_of_another_shape_or_name() -> None:
    with pytest.raises(DataError, match=re.escape("dipole has shape (3,) per graph, but (3,) per node is needed")):
        load(SampleSpec(), 4.0, {"dipole": Label("node", (3,))})
    with pytest.raises(DataError, match=re.escape("the data have no label force\n  did you mean forces?")):
        load(SampleSpec(), 4.0, {"force": Label("node", (3,))})


def test_r_max_out_of_reach() -> None:
    with pytest.raises(DataError) as caught:
        load(SampleSpec(), 0.9, LABELS)
    lines = str(caught.value).splitlines()
    assert re.fullmatch(r"data=sample, frame \d+", lines[0])
    assert re.fullmatch(r"  atom \d+ \([HCNO]\) has no neighbour within r_max = 0.9 Å", lines[1])

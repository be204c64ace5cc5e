"""The embedded data as graphs, for the tests of what is said of data."""

from __future__ import annotations

import pytest

from e3frame.data.pipeline.dataset import Splits
from e3frame.data.pipeline.graphs import Graph
from e3frame.data.pipeline.loader import load
from e3frame.data.sources.sample import LABELS, SampleSpec


@pytest.fixture(scope="session")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return load(SampleSpec(cache_dir=str(tmp_path_factory.mktemp("sample"))), 4.0, LABELS)


@pytest.fixture(scope="session")
def graphs(splits: Splits) -> list[Graph]:
    """Two hundred frames that do not follow each other."""
    return [splits.train[k] for k in range(0, 1800, 9)]


def changed(graphs: list[Graph], **factors: float) -> list[Graph]:
    """Copies, with labels times factors."""
    copies = [graph.clone() for graph in graphs]
    for graph in copies:
        for key, factor in factors.items():
            graph[key] = graph[key] * factor
    return copies

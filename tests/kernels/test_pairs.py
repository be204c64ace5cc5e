"""Edges and their reverses share what depends on the length alone."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
import yaml
from ase import Atoms
from ase.build import bulk
from support.native import needs_native
from torch import Tensor

from e3frame import kernels
from e3frame.data.pipeline.graphs import make_graph
from e3frame.kernels.native import groups
from e3frame.model import ModelSpec
from e3frame.spec.validate import validate

pytestmark = needs_native


def molecule() -> Atoms:
    random = torch.Generator().manual_seed(0)
    return Atoms("C9", positions=2.5 * torch.randn(9, 3, generator=random, dtype=torch.float64).numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "atoms", [molecule(), bulk("Cu"), bulk("NaCl", "rocksalt", 5.6)], ids=["molecule", "Cu", "NaCl"]
)
def test_every_edge_finds_its_reverse(atoms: Atoms, dtype: torch.dtype) -> None:
    graph = make_graph(atoms, 4.0)
    index, shift = graph.edge_index, graph.edge_shift.to(dtype)
    order = torch.randperm(index.shape[1], generator=torch.Generator().manual_seed(1))
    index, shift = index[:, order], shift[order]
    rows, edges = kernels.pairs(index, shift, len(atoms))
    assert len(rows) == 2 * len(edges) > 0
    for row in range(len(edges)):
        one, other = (rows == row).nonzero().flatten()
        assert edges[row] in (one, other)
        assert torch.equal(index[:, one], index[:, other].flip(0))
        assert torch.equal(shift[one], -shift[other])


def test_edges_without_a_reverse() -> None:
    index = torch.tensor([[0, 1, 2, 1, 1], [1, 2, 0, 0, 1]])
    shift = torch.zeros(5, 3)
    shift[3, 0], shift[4, 1] = 1.0, 2.0
    rows, edges = kernels.pairs(index, shift, 3)
    assert sorted(rows.tolist()) == [0, 1, 2, 3, 4]
    assert torch.equal(edges[rows], torch.arange(5))
    shift[0, 0] = -1.0
    rows, edges = kernels.pairs(index, shift, 3)
    assert rows[0] == rows[3]
    assert len(edges) == 4


def test_pairs_are_found_once_and_forgotten() -> None:
    index, shift = torch.tensor([[0, 1], [1, 0]]), torch.zeros(2, 3)
    first = kernels.pairs(index, shift, 2)
    assert kernels.pairs(index, shift, 2) is first
    assert len(kernels.pairs(index, torch.ones(2, 3), 2)[1]) == 2
    index.add_(0)
    assert kernels.pairs(index, shift, 2) is not first
    known, gone = len(groups._pairs), weakref.ref(index)
    del index
    gc.collect()
    assert gone() is None
    assert len(groups._pairs) < known


def test_nodes_out_of_range() -> None:
    with pytest.raises(IndexError, match="entry 1 has the index 2, which is not below 2"):
        kernels.pairs(torch.tensor([[0, 1], [1, 2]]), torch.zeros(2, 3), 2)


def test_pairs_of_inference_serve_training_too() -> None:
    index, shift = torch.tensor([[0, 1], [1, 0]]), torch.zeros(2, 3)
    with torch.inference_mode():
        rows, _ = kernels.pairs(index, shift, 2)
    assert not rows.is_inference()
    assert kernels.pairs(index, shift, 2)[0] is rows


def test_none_where_nobody_would_use_them() -> None:
    index, shift = torch.tensor([[0, 1], [1, 0]]), torch.zeros(2, 3)
    for wrong in (torch.zeros(1, 3), torch.zeros(3), torch.zeros(2, 3, requires_grad=True)):
        assert kernels.pairs(index, wrong, 2) is None
    assert kernels.pairs(index, shift.bfloat16(), 2) is None
    assert torch.compile(lambda i, s: s * (kernels.pairs(i, s, 2) is None), backend="eager")(index, shift).shape == (
        2,
        3,
    )


MODEL = """
r_max: 4.0
species: [C, Cu, Na, Cl]
layers:
  species: {kind: species_embedding, irreps_out: 8x0e}
  edge_vectors: {kind: edge_vectors}
  edge_sh: {kind: spherical_harmonics, irreps_out: 0e + 1o}
  radial: {kind: radial_basis, num_basis: 4}
  filter: {kind: mlp, of: radial, hidden: [5], irreps_out: 3x0e}
  conv: {kind: convolution, of: species, irreps_out: 4x0e + 2x1o, radial: filter, avg_num_neighbors: 5.0}
  message: {kind: tensor_product, x1: edge_vectors, x2: edge_sh, irreps_out: 2x0e + 1x1o, weights: filter}
  received: {kind: edges_to_nodes, of: message, avg_num_neighbors: 5.0}
  both: {kind: concatenate, of: [conv, received]}
  near: {kind: linear, of: radial, irreps_out: 3x0e}
  charges: {kind: mlp, of: species, irreps_out: 2x0e}
  sent: {kind: nodes_to_edges, of: charges}
  lengths_and_more: {kind: concatenate, of: [near, sent]}
  second: {kind: convolution, of: both, irreps_out: 4x0e, radial: lengths_and_more, avg_num_neighbors: 5.0}
  single: {kind: mlp, of: radial, irreps_out: 0e}
  third: {kind: convolution, of: second, irreps_out: 2x0e, edge_sh: single, radial: filter, avg_num_neighbors: 5.0}
  fourth: {kind: convolution, of: third, irreps_out: 2x0e, edge_sh: single, radial: single, avg_num_neighbors: 5.0}
  mixed:
    kind: residual
    of: filter
    layers:
      heard: {kind: nodes_to_edges, of: second}
      made: {kind: linear, of: heard, irreps_out: 3x0e}
  dropped: {kind: dropout, of: mixed, p: 0.0}
  last: {kind: convolution, of: fourth, irreps_out: 2x0e, radial: dropped, avg_num_neighbors: 5.0}
  readout: {kind: linear, of: last, irreps_out: 0e}
outputs:
  energy: {kind: sum, of: readout}
  forces: {kind: negative_gradient, of: energy}
  bonds: {kind: mlp, of: filter, hidden: [3], irreps_out: 2x0e}
"""


@pytest.mark.parametrize("atoms", [molecule(), bulk("NaCl", "rocksalt", 5.6)], ids=["molecule", "NaCl"])
def test_a_model_gives_the_same_with_pairs_and_without(atoms: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = validate(ModelSpec, yaml.safe_load(MODEL)).build().double()
    graph = {key: value for key, value in make_graph(atoms, 4.0).to_dict().items() if isinstance(value, Tensor)}

    def run() -> list[Tensor]:
        out = model(graph)
        loss = sum(value.square().sum() for value in out.values())
        return [*out.values(), *torch.autograd.grad(loss, list(model.parameters()))]

    asked = []
    monkeypatch.setattr(model.layers["radial"], "forward", _spy(model.layers["radial"].forward, asked))
    paired = run()
    monkeypatch.setattr(kernels, "pairs", lambda *_: None)
    plain = run()
    edges = graph["edge_index"].shape[1]
    assert asked == [edges // 2, edges]
    assert plain[2].shape == (edges, 2)
    for one, other in zip(paired, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def _spy(forward: Callable[[Tensor], Tensor], asked: list[int]) -> Callable[[Tensor], Tensor]:
    def spied(vectors: Tensor) -> Tensor:
        asked.append(len(vectors))
        return forward(vectors)

    return spied

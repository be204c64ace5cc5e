"""Reductions, species, scales and shifts, gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from e3frame.nn import (
    Add,
    Concatenate,
    EdgesToNodes,
    NodesToEdges,
    PerSpeciesScaleShift,
    Pool,
    SpeciesEmbedding,
    SpeciesIndex,
    group_mean,
    group_sum,
)
from e3frame.o3 import IndexedLinear


def test_groups(generator: torch.Generator):
    x = torch.randn(6, 2, 3, generator=generator, requires_grad=True)
    group = torch.tensor([3, 0, 3, 1, 0, 3])
    total, mean = group_sum(x, group, 5), group_mean(x, group, 5)
    assert total.shape == mean.shape == (5, 2, 3)
    for g in range(5):
        own = x[group == g]
        torch.testing.assert_close(total[g], own.sum(0))
        torch.testing.assert_close(mean[g], own.mean(0) if len(own) else torch.zeros(2, 3))
    for reduction in (group_sum, group_mean):
        assert gradcheck(lambda x, f=reduction: f(x, group, 5), x)
        assert gradgradcheck(lambda x, f=reduction: f(x, group, 5), x)
    assert not group_sum(x[:0], group[:0], 2).any()
    assert group_mean(x.float(), group, 5).dtype == torch.float32


def test_edges_to_nodes(generator: torch.Generator):
    x = torch.randn(4, 3, generator=generator)
    edge_index = torch.tensor([[0, 1, 2, 0], [1, 0, 1, 1]])
    species = torch.zeros(4, dtype=torch.long)
    total = torch.stack([x[1], x[0] + x[2] + x[3], torch.zeros(3), torch.zeros(3)])
    torch.testing.assert_close(EdgesToNodes("sum", 4.0)(x, edge_index, species), total / 2)
    torch.testing.assert_close(EdgesToNodes()(x, edge_index, species), total)
    mean = total / torch.tensor([1, 3, 1, 1])[:, None]
    torch.testing.assert_close(EdgesToNodes("mean", 4.0)(x, edge_index, species), mean)


def test_nodes_to_edges(generator: torch.Generator):
    x = torch.randn(3, 2, generator=generator)
    edge_index = torch.tensor([[0, 1, 2, 0], [1, 0, 1, 1]])
    assert torch.equal(NodesToEdges()(x, edge_index), x[[0, 1, 2, 0]])
    assert torch.equal(NodesToEdges("target")(x, edge_index), x[[1, 0, 1, 1]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pool(dtype: torch.dtype, generator: torch.Generator):
    x = torch.randn(4, 1, generator=generator).to(dtype)
    species, batch = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 2, 2])
    total = Pool("sum")(x, species, batch, 3)
    assert total.dtype == dtype
    torch.testing.assert_close(total, torch.stack([x[:2].sum(0), torch.zeros(1, dtype=dtype), x[2:].sum(0)]))
    mean = Pool("mean", PerSpeciesScaleShift([2.0, 3.0], [10.0, 20.0]))(x, species, batch, 3)
    assert mean.dtype == torch.float64
    y = x.double() * torch.tensor([2.0, 3, 3, 2])[:, None] + torch.tensor([10.0, 20, 20, 10])[:, None]
    torch.testing.assert_close(mean, torch.stack([y[:2].mean(0), torch.zeros(1), y[2:].mean(0)]))


def test_add_and_concatenate():
    assert Add()(torch.ones(2), torch.ones(2)).tolist() == [2.0, 2.0]
    assert Concatenate()(torch.zeros(1, 2), torch.ones(1, 1)).tolist() == [[0.0, 0.0, 1.0]]


def test_reduction_errors():
    for make in (lambda: Pool("max"), lambda: EdgesToNodes("max")):
        with pytest.raises(ValueError, match=r"^reduce must be 'sum' or 'mean', got 'max'$"):
            make()
    with pytest.raises(ValueError, match=r"^avg_num_neighbors must be positive, got 0.0$"):
        EdgesToNodes("sum", 0.0)
    with pytest.raises(ValueError, match=r"^end must be 'source' or 'target', got 'both'$"):
        NodesToEdges("both")


def test_species_embedding():
    module = SpeciesEmbedding(3, "5x0e")
    species = torch.tensor([2, 0, 2])
    assert torch.equal(module(species), module.weight[species])
    assert {name: p.shape for name, p in module.named_parameters()} == {"weight": (3, 5)}
    assert copy.deepcopy(module).float()(species).dtype == torch.float32
    with pytest.raises(IndexError):
        module(torch.tensor([3]))
    with pytest.raises(ValueError, match=r"^a species embedding has even scalars \(0e\) only, got 5x0e\+1x1o$"):
        SpeciesEmbedding(3, "5x0e+1o")
    with pytest.raises(ValueError, match=r"^num_species must be positive, got 0$"):
        SpeciesEmbedding(0, "5x0e")


@pytest.mark.parametrize("index", [3, -1, 119])
def test_indices_that_no_species_has(index: int):
    message = rf"^indices of 3 species lie between 0 and 2, got {index}$"
    species, x = torch.tensor([0, index, 2]), torch.ones(3, 1)
    with pytest.raises(IndexError, match=message):
        SpeciesEmbedding(3, "5x0e")(species)
    with pytest.raises(IndexError, match=message):
        PerSpeciesScaleShift([1.0, 2.0, 3.0], [0.0, 0.0, 0.0])(x, species)
    for irreps in ("2x0e", "40x0e"):  # a matrix for each row, or every matrix for each row
        linear = IndexedLinear(irreps, "2x0e", 3)
        with pytest.raises((IndexError, RuntimeError), match="index"):
            linear(torch.ones(3, linear.irreps_in.dim), species)
        with pytest.raises((IndexError, RuntimeError), match="index"), torch.autocast("cpu"):  # in plain torch
            linear(torch.ones(3, linear.irreps_in.dim), species)


def test_species_index():
    index = SpeciesIndex([8, 1, 6])
    assert index(torch.tensor([1, 6, 8, 1])).tolist() == [1, 2, 0, 1]
    assert index(torch.tensor([7])).tolist() == [3]
    index.check(torch.tensor([1, 1, 6]))
    with pytest.raises(ValueError, match=r"^species are the atomic numbers \[8, 1, 6\], got also \[7, 9\]$"):
        index.check(torch.tensor([1, 9, 7, 9]))
    assert not index.state_dict()
    assert index.float()(torch.tensor([6])).dtype == torch.int64


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([], r"^one or more species are required, got none$"),
        ([1, 6, 1], r"^species must differ, got \[1, 6, 1\]$"),
        ([1, 0], r"^atomic numbers lie between 1 and 118, got \[1, 0\]$"),
    ],
)
def test_species_index_errors(numbers: list[int], message: str):
    with pytest.raises(ValueError, match=message):
        SpeciesIndex(numbers)


CASTS = [
    lambda m: m.float(),
    lambda m: m.to(torch.float32),
    lambda m: m.half(),
    lambda m: m.to(torch.bfloat16).to(torch.float64),
    lambda m: m.to("cpu", torch.float32),
    lambda m: torch.nn.Sequential(m).float()[0],
    lambda m: copy.deepcopy(m).float(),
]


@pytest.mark.parametrize("cast", CASTS)
def test_scale_shift_keeps_small_differences_of_large_energies(cast, generator: torch.Generator):
    """21 atoms of rMD17 aspirin: -17,660 eV in total, where float32 has steps of 2 meV."""
    shift = [-13.587222780835477, -1029.4889999855063, -2041.9816003861047]
    species = torch.tensor([0] * 8 + [1] * 9 + [2] * 4)
    x = torch.randn(21, 1, generator=generator, dtype=torch.float64).float()
    module = cast(PerSpeciesScaleShift([1.1, 1.2, 1.3], shift))
    out = module(x, species).sum()
    scale = torch.tensor([1.1, 1.2, 1.3])
    expected = sum(shift[s] for s in species.tolist()) + (scale[species] * x[:, 0].double()).sum()
    assert out.dtype == torch.float64
    assert expected < -17_000
    assert out.item() == pytest.approx(expected.item(), abs=1e-9)


def test_scale_shift_state_and_gradient():
    module = PerSpeciesScaleShift([2.0, 3.0], [0.1, 0.2]).float()
    state = module.state_dict()
    assert {name: v.dtype for name, v in state.items()} == {"scale": torch.float64, "shift": torch.float64}
    other = PerSpeciesScaleShift([0.0, 0.0], [0.0, 0.0])
    other.load_state_dict(state)
    x = torch.ones(2, 1, dtype=torch.float32, requires_grad=True)
    out = other(x, torch.tensor([1, 0]))
    torch.testing.assert_close(out, torch.tensor([[3.2], [2.1]]))
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert gradient.dtype == torch.float32
    assert gradient[:, 0].tolist() == [3.0, 2.0]
    assert not [*module.parameters()]


def test_scale_shift_moves():
    moved = PerSpeciesScaleShift([1.0], [2.0]).to("meta")
    assert moved.shift.device.type == "meta"
    assert moved.float().shift.dtype == torch.float64


def test_scale_shift_errors():
    for scale, shift in (([1.0], [1.0, 2.0]), ([], [])):
        with pytest.raises(ValueError, match=r"^scale and shift need one value per species, got \d and \d$"):
            PerSpeciesScaleShift(scale, shift)

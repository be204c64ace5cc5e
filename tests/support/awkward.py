"""Runs every native kernel over shapes that do not fit registers, chunks and tiles.

``python -m support.awkward LIBRARY`` does so with another library, such as one built with sanitizers.
"""

from __future__ import annotations

import sys
from functools import partial
from itertools import product
from pathlib import Path


def main() -> None:
    import torch

    from e3frame.kernels.native import library

    if len(sys.argv) > 1:
        library.LIBRARY = Path(sys.argv[1])
    print(library.load()._name)
    torch.set_num_threads(2)
    for dtype in (torch.float32, torch.float64):
        run_convolutions(dtype)
        run_shared_rows(dtype)
        run_pairs(dtype)
        run_bad_indices(dtype)
        run_linear(dtype)
        run_symmetric_products(dtype)
        run_differences(dtype)
        run_pointwise(dtype)
    print("all kernels ran")


def run_convolutions(dtype: object) -> None:
    from support.native import PLANS, derivatives, graph, large_graph

    sizes = [(0, 0, 0), (0, 3, 2), (1, 1, 1), (7, 3, 4), (300, 70, 130)]
    for (name, plan), (edges, sources, targets), shared in product(PLANS.items(), sizes, (False, True)):
        if edges == 300 and name in ("l4", "l6"):
            continue
        x, edge_index, y, w = graph(plan, edges, sources, targets, shared=shared, dtype=dtype)
        list(derivatives(partial(convolve, plan, edge_index, None, targets), (x, y, w), 2))
    for local in (False, True):
        plan = PLANS["tails"]
        x, edge_index, y, w = large_graph(plan, local, dtype)
        list(derivatives(partial(convolve, plan, edge_index, None, len(x)), (x, y, w), 2))


def run_shared_rows(dtype: object) -> None:
    """Edges that share one row of weights, some of a few, some of many, of which not all are taken."""
    import torch
    from support.native import PLANS, derivatives, graph, large_graph

    def run(plan: object, tensors: object, numbers: tuple[int, ...], targets: int) -> None:
        x, edge_index, y, _ = tensors
        for number in numbers:
            rows = torch.randint(number, (len(y),), generator=torch.Generator().manual_seed(number))
            w = torch.randn(number, plan.weight_numel, dtype=dtype)
            list(derivatives(partial(convolve, plan, edge_index, rows, targets), (x, y, w), 2))

    for plan, (edges, targets) in product(PLANS.values(), ((0, 0), (0, 2), (1, 1), (7, 4))):
        run(plan, graph(plan, edges, targets, targets, dtype=dtype), (1, 5), targets)
    plan = PLANS["tails"]
    run(plan, graph(plan, 300, 70, 130, dtype=dtype), (1, 150), 130)
    for local in (False, True):
        run(plan, large_graph(plan, local, dtype), (3500,), 3000)


def run_pairs(dtype: object) -> None:
    import torch
    from ase.build import bulk

    from e3frame import kernels
    from e3frame.data.pipeline.graphs import make_graph

    for atoms in (bulk("Cu"), bulk("NaCl", "rocksalt", 5.6)):
        graph = make_graph(atoms, 4.0)
        rows, edges = kernels.pairs(graph.edge_index, graph.edge_shift.to(dtype), len(atoms))
        assert len(rows) == 2 * len(edges) > 0
    for nodes in (0, 3):
        rows, edges = kernels.pairs(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0, 3, dtype=dtype), nodes)
        assert len(rows) == len(edges) == 0


def run_bad_indices(dtype: object) -> None:
    """Whatever has an index that is out of range is refused, and touches no memory."""
    import pytest
    import torch
    from support.native import PLANS, graph

    from e3frame import kernels, nn, o3

    plan = PLANS["tails"]
    x, edge_index, y, w = graph(plan, 7, 4, 4, dtype=dtype)
    linear = o3.IndexedLinear("2x0e", "3x0e", 4).to(dtype)
    powers = o3.SymmetricProduct("2x0e", "2x0e", 3, 4).to(dtype)
    for change in (4, 100, 2**40, -5, -(2**40)):
        wrong, one_end = edge_index + change, edge_index.clone()
        one_end[1, 6] = change
        refused = [
            partial(kernels.convolution, x, edge_index, y, w[:4], plan, 4, wrong[0]),
            partial(linear, torch.zeros(7, 2, dtype=dtype), wrong[0]),
            partial(powers, torch.zeros(7, 2, dtype=dtype), wrong[0]),
        ]
        for edges in (wrong, one_end):
            refused += [
                partial(kernels.convolution, x, edges, y, w, plan, 4),
                partial(kernels.pairs, edges, torch.zeros(7, 3, dtype=dtype), 4),
                partial(nn.edge_vectors, torch.zeros(4, 3, dtype=dtype), edges, None),
            ]
        for call in refused:
            with pytest.raises(IndexError, match="has the index"):
                call()


def convolve(plan: object, edge_index: object, rows: object, targets: int, *tensors: object) -> object:
    from e3frame.kernels.native import convolution as native
    from e3frame.kernels.native import plans

    x, y, w = tensors
    return native.convolution(x, edge_index, y, w, rows, plans.encode(plan), targets)


def run_linear(dtype: object) -> None:
    import torch
    from support.native import derivatives

    from e3frame import nn, o3

    irreps_in, irreps_out = "17x0e + 3x1o + 1x2e + 0x1e", "33x0e + 5x1o + 1x3o + 2x2e"
    plain, indexed = o3.Linear(irreps_in, irreps_out, biases=True), o3.IndexedLinear(irreps_in, irreps_out, 4)
    weight = indexed.weight.detach().to(dtype)
    by_species = nn.SelfConnection(irreps_in, "5x0e", "32x0e + 5x1o", 3)
    for rows in (0, 1, 5, 131):
        x, index = torch.randn(rows, plain.irreps_in.dim, dtype=dtype), torch.arange(rows) % 3

        def call(x, w, index=index):
            return torch.func.functional_call(indexed, {"weight": w}, (x, index))

        list(derivatives(plain.to(dtype), (x,), 2))
        list(derivatives(partial(by_species.to(dtype), species=index), (x, torch.randn(rows, 5, dtype=dtype)), 2))
        list(derivatives(call, (x, weight), 2))


def run_symmetric_products(dtype: object) -> None:
    import torch
    from support.native import derivatives

    from e3frame import o3

    for irreps_in, irreps_out, correlation in (
        ("1x0e + 1x1o", "2x1o", 4),
        ("17x0e + 17x1o + 17x2e", "17x0e + 17x2e", 3),
        ("5x3o + 5x4e + 5x5o", "5x0e", 2),
    ):
        module = o3.SymmetricProduct(irreps_in, irreps_out, correlation, 4)
        for rows in (0, 1, 7, 300):
            x, index = torch.randn(rows, module.irreps_in.dim, dtype=dtype), torch.arange(rows) % 3

            def call(x, w, module=module, index=index):
                return torch.func.functional_call(module, {"weight": w}, (x, index))

            list(derivatives(call, (x, module.weight.detach().to(dtype)), 2))


def run_differences(dtype: object) -> None:
    import torch
    from support.native import derivatives

    from e3frame import nn

    for edges, nodes in ((0, 0), (0, 3), (1, 1), (23, 5)):
        pos, shift = torch.randn(nodes, 3, dtype=dtype), torch.randn(edges, 3, dtype=dtype)
        edge_index = torch.arange(2 * edges).reshape(2, edges) % max(nodes, 1)
        list(derivatives(lambda pos, shift, e=edge_index: nn.edge_vectors(pos, e, shift), (pos, shift), 2))


def run_pointwise(dtype: object) -> None:
    import torch
    from support.native import derivatives

    from e3frame import nn, o3
    from e3frame.kernels.native.pointwise import activate, write_act

    gate = nn.Gate("5x0e + 1x0e", ["silu", None], "19x0e", ["sigmoid"], "17x1o + 2x2e")
    for rows in (0, 1, 3, 17, 300):
        vectors = torch.randn(rows, 3, dtype=dtype)
        vectors[:1] = 0
        list(derivatives(gate, (torch.randn(rows, gate.irreps_in.dim, dtype=dtype),), 2))
        list(derivatives(lambda x: activate(x, write_act("silu", 1.5, 0.5)), (torch.randn(rows, 7, dtype=dtype),), 2))
        for degrees, normalize in product(([0], [2, 0], [0, 1, 2, 3, 4], [6]), (False, True)):
            list(derivatives(o3.SphericalHarmonics(degrees, normalize), (vectors,), 2))
        for basis, envelope in product(
            (nn.BesselBasis(2.0, 5), nn.GaussianBasis(2.0, 1)), (nn.PolynomialEnvelope(2.0), nn.CosineEnvelope(2.0))
        ):
            list(derivatives(nn.RadialBasis(basis, envelope), (vectors,), 2))


if __name__ == "__main__":
    main()

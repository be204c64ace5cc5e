"""What holds for every registered kind of layer, with no list of kinds to forget one in.

A kind's own ``example`` is run after layers that give it all sorts of fields to read.
"""

from __future__ import annotations

import pytest
import torch
import yaml
from support.graphs import Graph, graph_of, moved, permuted, random_graph, random_o3
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call

from e3frame import kernels
from e3frame.layers._context import INPUTS, LAYERS
from e3frame.model import ModelSpec
from e3frame.network import Model
from e3frame.spec.docs import key_docs
from e3frame.spec.layer import LayerSpec, Step
from e3frame.spec.validate import validate

R_MAX = 2.5
KINDS = sorted(LayerSpec.members)
EXAMPLES = [
    pytest.param(text, id=f"{kind}{number or ''}")
    for kind in KINDS
    for number, text in enumerate([LayerSpec.members[kind].example, *LayerSpec.members[kind].variants])
]


def model_with(example: str, seed: int = 0) -> tuple[Model, Step]:
    layers = {**yaml.safe_load(LAYERS), "it": yaml.safe_load(example)}
    raw = {"r_max": R_MAX, "species": ["H", "C", "O"], "inputs": INPUTS, "layers": layers}
    spec = validate(ModelSpec, {**raw, "outputs": {"total": {"kind": "sum", "of": "energies"}}})
    torch.manual_seed(seed)
    model = Model(spec).double().eval()
    step = [step for step in spec.typed().steps if step.path[:2] == ("layers", "it")][-1]
    return model, step


def value_of(model: Model, step: Step, graph: Graph) -> Tensor:
    """What the layer returns within the whole model."""
    found: list[Tensor] = []
    hook = model.layers[step.binding.key].register_forward_hook(lambda module, inputs, output: found.append(output))
    try:
        model(graph)
    finally:
        hook.remove()
    if step.binding.field.reversal != 1:
        return found[0]
    # It stands there once for an edge and its reverse.
    pairs = kernels.pairs(graph["edge_index"], graph["edge_shift"], len(graph["pos"]))
    return found[0] if pairs is None else found[0].index_select(0, pairs[0])


def test_kinds_were_found() -> None:
    assert len(KINDS) >= 20
    assert len(EXAMPLES) >= 45


@pytest.mark.parametrize("example", EXAMPLES)
def test_inferred_type_is_the_actual_one(example: str) -> None:
    model, step = model_with(example)
    graph = random_graph(1, num_nodes=7, num_graphs=2)
    rows = {"node": 7, "edge": graph["edge_index"].shape[1], "graph": 2}[step.binding.domain]
    assert value_of(model, step, graph).shape == (rows, step.binding.irreps.dim)
    for each in model.spec.typed().steps:
        trainable = sum(p.numel() for p in model.layers[each.binding.key].parameters() if p.requires_grad)
        assert trainable == each.num_parameters, each.binding.key


@pytest.mark.parametrize("inversion", [False, True], ids=["rotation", "inversion"])
@pytest.mark.parametrize("example", EXAMPLES)
def test_equivariance(example: str, inversion: bool) -> None:
    model, step = model_with(example)
    graph = random_graph(2)
    matrix = random_o3(3, inversion)
    shift = torch.tensor([0.3, -4.0, 1.7], dtype=torch.float64)
    expected = value_of(model, step, graph) @ step.binding.irreps.D_from_matrix(matrix).T
    assert expected.abs().max() > 1e-4
    actual = value_of(model, step, moved(graph, matrix, shift))
    torch.testing.assert_close(actual, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("example", EXAMPLES)
def test_permutation(example: str) -> None:
    """Of the atoms, and of the edges in their list."""
    model, step = model_with(example)
    graph = random_graph(4, num_nodes=6, num_graphs=2)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    edges = torch.randperm(graph["edge_index"].shape[1], generator=torch.Generator().manual_seed(0))
    shuffled = permuted(graph, order)
    shuffled |= {"edge_index": shuffled["edge_index"][:, edges], "edge_shift": shuffled["edge_shift"][edges]}
    before, after = (value_of(model, step, g) for g in (graph, shuffled))
    rows = {"node": order, "edge": edges, "graph": torch.arange(2)}[step.binding.domain]
    torch.testing.assert_close(after, before[rows], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("example", EXAMPLES)
def test_float32(example: str) -> None:
    model, step = model_with(example)
    graph = random_graph(5)
    exact = value_of(model, step, graph)
    single = value_of(model.float(), step, graph)
    expected = torch.float64 if getattr(step.spec, "per_species_scale_shift", None) is not None else torch.float32
    assert single.dtype == expected
    torch.testing.assert_close(single.double(), exact, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("example", EXAMPLES)
def test_gradcheck(example: str) -> None:
    model, step = model_with(example)
    graph = random_graph(6, num_nodes=3)
    assert graph["edge_index"].shape[1] > 0

    def of_positions(pos: Tensor) -> Tensor:
        return value_of(model, step, {**graph, "pos": pos})

    pos = graph["pos"].clone().requires_grad_()
    assert gradcheck(of_positions, pos, fast_mode=True, atol=1e-6)
    if of_positions(pos).requires_grad:
        assert gradgradcheck(of_positions, pos, fast_mode=True, atol=1e-6)


@pytest.mark.parametrize("example", EXAMPLES)
def test_gradcheck_of_the_weights(example: str) -> None:
    model, step = model_with(example)
    graph = random_graph(6, num_nodes=3)
    layer = model.layers[step.binding.key]
    weights = {name: value.detach().requires_grad_() for name, value in layer.named_parameters()}
    if not weights:
        assert step.num_parameters == 0
        return
    inputs: list[tuple[Tensor, ...]] = []
    hook = layer.register_forward_pre_hook(lambda module, given: inputs.append(given))
    model(graph)
    hook.remove()
    given = tuple(value.detach() if isinstance(value, Tensor) else value for value in inputs[0])

    def of_weights(*values: Tensor) -> Tensor:
        return functional_call(layer, dict(zip(weights, values, strict=True)), given)

    assert gradcheck(of_weights, tuple(weights.values()), fast_mode=True, atol=1e-6)


@pytest.mark.parametrize("distance", [0.0, 1e-12, 1e-5, None])
@pytest.mark.parametrize("example", EXAMPLES)
def test_derivatives_are_finite(example: str, distance: float | None) -> None:
    """Edges that are short, of no length at all, or missing (None)."""
    model, step = model_with(example)
    pos = torch.tensor([[0.0, 0, 0], [distance or 0.0, 0, 0], [9.0, 0, 0]], dtype=torch.float64)
    if distance is None:
        pos = 9 * torch.eye(3, dtype=torch.float64)
    pos.requires_grad_()
    graph = graph_of(pos, torch.tensor([1, 6, 8]), R_MAX)
    assert (graph["edge_index"].shape[1] == 0) == (distance is None)
    value = value_of(model, step, graph)
    assert value.isfinite().all()
    if not value.requires_grad:
        return
    (slope,) = torch.autograd.grad(value.square().sum(), pos, create_graph=True, materialize_grads=True)
    assert slope.isfinite().all()
    if slope.requires_grad:
        parameters = [pos, *model.parameters()]
        for curvature in torch.autograd.grad(slope.square().sum(), parameters, materialize_grads=True):
            assert curvature.isfinite().all()


@pytest.mark.parametrize("example", EXAMPLES)
def test_spec_survives_json(example: str) -> None:
    model, _ = model_with(example)
    assert validate(ModelSpec, model.spec.model_dump(mode="json")) == model.spec


@pytest.mark.parametrize("kind", KINDS)
def test_documented(kind: str) -> None:
    """Class docstring and a description of every key."""
    layer = LayerSpec.members[kind]
    assert layer.__doc__
    assert layer.__doc__ != LayerSpec.__doc__
    undocumented = [name for name in layer.model_fields if name != "kind" and name not in key_docs(layer)]
    assert not undocumented

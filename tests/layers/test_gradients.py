"""Derivatives of fields: one backward pass for all of one field, with respect to whatever it depends on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
import torch
import yaml
from torch import Tensor, nn

from e3frame.model import ModelSpec
from e3frame.network import Model
from e3frame.nn import NegativeGradient
from e3frame.spec.layer import Gradient, LayerSpec, Scope, Signature, TensorType, input_key
from e3frame.spec.validate import validate

MODEL = """
r_max: 4.0
species: [C, H]
inputs: {field: 1o}
layers:
  x: {kind: species_embedding, irreps_out: 4x0e}
  edge_vectors: {kind: edge_vectors}
  edge_sh: {kind: spherical_harmonics, irreps_out: 0e + 1o}
  radial: {kind: radial_basis, num_basis: 4}
  conv: {kind: convolution, of: x, irreps_out: 4x0e + 2x1o, avg_num_neighbors: 2.0}
  outside: {kind: graph_to_nodes, of: field}
  coupled: {kind: tensor_product, x1: conv, x2: outside, irreps_out: 4x0e}
  energies: {kind: mlp, of: coupled, hidden: [4], irreps_out: 0e}
  others: {kind: norm, of: conv}
  other: {kind: mlp, of: others, hidden: [4], irreps_out: 0e}
outputs:
  energy: {kind: sum, of: energies}
  forces: {kind: negative_gradient, of: energy}
  stress: {kind: strain_gradient, of: energy}
  second: {kind: sum, of: other}
  second_forces: {kind: negative_gradient, of: second}
"""
EDGES = torch.tensor([(i, j) for i in range(4) for j in range(4) if i != j]).T.contiguous()


@pytest.fixture
def graph() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {
        "z": torch.tensor([6, 1, 1, 6]),
        "edge_index": EDGES,
        "edge_shift": torch.zeros(12, 3, dtype=torch.float64),
        "pos": 2 * torch.rand(4, 3, generator=generator, dtype=torch.float64),
        "cell": 5 * torch.eye(3, dtype=torch.float64)[None],
        "field": torch.randn(1, 3, generator=generator, dtype=torch.float64),
    }


def model_with(*outputs: str) -> Model:
    """A model with some of the outputs, its weights the same whatever they are."""
    spec = yaml.safe_load(MODEL)
    spec["outputs"] = {name: value for name, value in spec["outputs"].items() if name in outputs}
    if "second" not in outputs:
        del spec["layers"]["others"], spec["layers"]["other"]
    torch.manual_seed(0)
    return validate(ModelSpec, spec).build().double()


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The options of each backward pass."""
    found: list[dict[str, Any]] = []
    whole = torch.autograd.grad

    def counted(*args: Any, **options: Any) -> Any:
        found.append(options)
        return whole(*args, **options)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    return found


@pytest.mark.parametrize("training", [True, False])
def test_forces_and_stress_are_one_backward_pass(
    graph: dict[str, Any], passes: list[dict[str, Any]], training: bool
) -> None:
    both, forces, stress = (model_with("energy", *names) for names in (("forces", "stress"), ("forces",), ("stress",)))
    with torch.set_grad_enabled(training):
        found = both(graph)
        assert len(passes) == 1
        assert passes[0]["retain_graph"] is training  # nothing is kept that nobody reads
        torch.testing.assert_close(found["forces"], forces(graph)["forces"], atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(found["stress"], stress(graph)["stress"], atol=1e-12, rtol=1e-12)
        assert found["forces"].abs().max() > 1e-3
        assert found["stress"].abs().max() > 1e-5
        assert found["forces"].requires_grad is training


def test_second_derivatives_of_both(graph: dict[str, Any]) -> None:
    model = model_with("energy", "forces", "stress")

    def outputs(pos: Tensor) -> tuple[Tensor, ...]:
        found = model({**graph, "pos": pos})
        return found["forces"], found["stress"]

    pos = graph["pos"].requires_grad_()
    assert torch.autograd.gradcheck(outputs, pos)
    assert torch.autograd.gradgradcheck(outputs, pos)


@pytest.mark.parametrize("training", [True, False])
def test_two_fields_are_two_backward_passes(
    graph: dict[str, Any], passes: list[dict[str, Any]], training: bool
) -> None:
    with torch.set_grad_enabled(training):
        model_with("energy", "forces", "stress", "second", "second_forces")(graph)
    assert [options["retain_graph"] for options in passes] == [True, training]


@pytest.fixture
def dipole() -> Iterator[None]:
    """A plugin's layer: the dipole as the derivative with respect to a field outside."""

    class FieldGradient(LayerSpec):
        kind: Literal["own_field_gradient"] = "own_field_gradient"
        of: str

        def infer(self, scope: Scope) -> Signature:
            energy = scope.read(self.of, "graph", "of")
            field = scope.read("field", "graph", "of")
            return Signature((Gradient(energy.key, input_key("field")),), TensorType(field.irreps, "graph"))

        def build(self, scope: Scope) -> nn.Module:
            return NegativeGradient()

    yield
    del LayerSpec.members["own_field_gradient"]


def test_gradients_of_an_input(dipole: None, graph: dict[str, Any], passes: list[dict[str, Any]]) -> None:
    spec = yaml.safe_load(MODEL)
    del spec["layers"]["others"], spec["layers"]["other"]
    spec["outputs"] = {name: spec["outputs"][name] for name in ("energy", "forces", "stress")}
    spec["outputs"]["dipole"] = {"kind": "own_field_gradient", "of": "energy"}
    torch.manual_seed(0)
    model = validate(ModelSpec, spec).build().double()
    with torch.no_grad():
        found = model(graph)
        assert len(passes) == 1
        for axis in range(3):
            step = torch.zeros(1, 3, dtype=torch.float64)
            step[0, axis] = 1e-5
            above, below = (model({**graph, "field": graph["field"] + s})["energy"].item() for s in (step, -step))
            assert found["dipole"][0, axis].item() == pytest.approx(-(above - below) / 2e-5, rel=1e-6, abs=1e-9)

"""Forward-mode differentiation of a whole model, its forces included."""

from __future__ import annotations

import pytest
import torch
import yaml
from torch import Tensor
from torch.autograd import forward_ad

from e3frame.model import ModelSpec
from e3frame.spec.errors import UserError
from e3frame.spec.validate import validate

MODEL = """
r_max: 4.0
species: [C, H]
layers:
  x: {kind: species_embedding, irreps_out: 4x0e}
  edge_vectors: {kind: edge_vectors}
  edge_sh: {kind: spherical_harmonics, irreps_out: 0e + 1o}
  radial: {kind: radial_basis, num_basis: 4}
  conv: {kind: convolution, of: x, irreps_out: 4x0e + 2x1o, avg_num_neighbors: 2.0}
  second: {kind: convolution, of: conv, irreps_out: 4x0e, avg_num_neighbors: 2.0}
  energies: {kind: mlp, of: second, hidden: [4], irreps_out: 0e}
outputs:
  energy: {kind: sum, of: energies}
  forces: {kind: negative_gradient, of: energy}
"""
EDGES = torch.tensor([(i, j) for i in range(4) for j in range(4) if i != j]).T.contiguous()
GRAPH = {"z": torch.tensor([6, 1, 1, 6]), "edge_index": EDGES, "edge_shift": torch.zeros(12, 3)}


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("requires_grad", [True, False])
def test_tangents_of_energies_and_forces(requires_grad: bool, enabled: bool) -> None:
    """Those of differences, where the caller wants gradients, and where not."""
    torch.manual_seed(0)
    model = validate(ModelSpec, yaml.safe_load(MODEL)).build().double()
    pos, tangent = 2 * torch.rand(4, 3).double(), torch.randn(4, 3).double()

    def outputs(pos: Tensor) -> dict[str, Tensor]:
        return model({**GRAPH, "pos": pos})

    step = 1e-5 * tangent
    above, below = outputs(pos + step), outputs(pos - step)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(pos.clone().requires_grad_(requires_grad), tangent)
        with torch.set_grad_enabled(enabled):
            found = {name: forward_ad.unpack_dual(value).tangent for name, value in outputs(dual).items()}
    for name, value in found.items():
        assert value.abs().max() > 1e-3
        torch.testing.assert_close(value, (above[name] - below[name]) / 2e-5, atol=1e-6, rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_trace_does_not_follow_forces() -> None:
    spec = yaml.safe_load(MODEL)
    graph = {**GRAPH, "pos": 2 * torch.rand(4, 3).double()}
    with pytest.raises(UserError, match="cannot trace derivatives such as forces: trace a model without them"):
        torch.jit.trace(validate(ModelSpec, spec).build(), (graph,), strict=False)
    del spec["outputs"]["forces"]
    model = validate(ModelSpec, spec).build().double()
    traced = torch.jit.trace(model, (graph,), strict=False, check_trace=False)
    other = {**graph, "pos": 2 * torch.rand(4, 3).double(), "edge_index": EDGES[:, 3:], "edge_shift": torch.zeros(9, 3)}
    torch.testing.assert_close(traced(other), model(other))

"""Models of SO(3): rotations without inversion."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml

from e3frame import o3
from e3frame.config.checks import check_output
from e3frame.config.targets import TaskSpec
from e3frame.model import ModelSpec
from e3frame.spec.errors import SpecError
from e3frame.spec.validate import validate

MODEL = """
symmetry: SO(3)
r_max: 4.0
species: [C, H]
inputs: {field: 1e}
layers:
  x: {kind: species_embedding, irreps_out: 4x0e}
  edge_sh: {kind: spherical_harmonics, irreps_out: 0e + 1e + 2e}
  radial: {kind: radial_basis, num_basis: 4}
  conv: {kind: convolution, of: x, irreps_out: 4x0e + 2x1e, avg_num_neighbors: 2.0}
  outside: {kind: graph_to_nodes, of: field}
  turned: {kind: tensor_product, x1: conv, x2: outside, irreps_out: 4x0e + 2x1e}
  again: {kind: convolution, of: turned, irreps_out: 4x0e + 1e, avg_num_neighbors: 2.0}
  energies: {kind: linear, of: again, irreps_out: 0e}
  charges: {kind: linear, of: again, irreps_out: 0e + 1e}
outputs:
  energy: {kind: sum, of: energies}
  forces: {kind: negative_gradient, of: energy, irreps_out: 1e}
  stress: {kind: strain_gradient, of: energy}
  dipole: {kind: dipole, of: charges, irreps_out: 1e}
"""
EDGES = torch.tensor([(i, j) for i in range(4) for j in range(4) if i != j]).T.contiguous()


def results(model: Any, R: torch.Tensor) -> dict[str, torch.Tensor]:
    """Those of a fixed structure and field, turned by R."""
    generator = torch.Generator().manual_seed(0)
    pos, field = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (4, 1))
    graph = {
        "z": torch.tensor([6, 1, 1, 6]),
        "edge_index": EDGES,
        "edge_shift": torch.zeros(12, 3, dtype=torch.float64),
        "pos": pos @ R.T,
        "cell": 5 * R.T[None],
        "field": field @ R.T,
    }
    with torch.no_grad():
        return model(graph)


def test_rotations_but_no_reflections() -> None:
    torch.manual_seed(0)
    model = validate(ModelSpec, yaml.safe_load(MODEL)).build().double()
    one = torch.eye(3, dtype=torch.float64)
    R = o3.rand_matrix(dtype=torch.float64)
    here, there, mirrored = (results(model, matrix) for matrix in (one, R, -one))
    torch.testing.assert_close(there["energy"], here["energy"], atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(there["forces"], here["forces"] @ R.T, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(there["dipole"], here["dipole"] @ R.T, atol=1e-12, rtol=1e-10)
    D = o3.Irreps("0e + 2e").D_from_matrix(R)
    torch.testing.assert_close(there["stress"], here["stress"] @ D.T, atol=1e-12, rtol=1e-10)
    assert (mirrored["energy"] - here["energy"]).abs() > 1e-3  # not by chance: nothing forbids it


def test_all_fields_are_even() -> None:
    typed = validate(ModelSpec, yaml.safe_load(MODEL)).typed()
    assert all(ir.p == 1 for step in typed.steps for _, ir in step.binding.irreps)
    assert str(typed.outputs["forces"].field) == "1x1e per node"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "4x0e + 2x1e, avg",
            "4x0e + 2x1o, avg",
            "layers.conv.irreps_out\n  4x0e+2x1o has odd parity, but with",
        ),
        ("{field: 1e}", "{field: 1o}", "inputs.field\n  1x1o has odd parity, but with symmetry"),
        ("irreps_out: 0e + 1e + 2e", "irreps_out: 0e + 1o", "layers.edge_sh.irreps_out\n  1x0e+1x1o has odd parity"),
        ("symmetry: SO(3)", "symmetry: O(3)", "layers.edge_sh.irreps_out\n  1e is not possible"),
    ],
)
def test_messages(old: str, new: str, message: str) -> None:
    assert MODEL.count(old) == 1
    with pytest.raises(SpecError) as caught:
        validate(ModelSpec, yaml.safe_load(MODEL.replace(old, new))).typed()
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["energy", "forces", "dipole"])
def test_targets_are_those_of_any_model(name: str) -> None:
    targets = {
        "energy": {"irreps": "0e", "per": "graph"},
        "forces": {"derive": "negative_gradient", "of": "energy"},
        "dipole": {"irreps": "1o", "per": "graph"},
    }
    task = validate(TaskSpec, {"targets": targets})
    check_output(name, task, validate(ModelSpec, yaml.safe_load(MODEL)).typed())


def test_the_hint_is_what_works() -> None:
    with pytest.raises(SpecError, match="write 4x0e\\+2x1e"):
        validate(ModelSpec, yaml.safe_load(MODEL.replace("4x0e + 2x1e, avg", "4x0e + 2x1o, avg"))).typed()

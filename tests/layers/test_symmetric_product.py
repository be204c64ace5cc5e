"""``symmetric_product``: results by default, the gate after it, warnings, weights per species, variance."""

from __future__ import annotations

import pytest
import torch
import yaml
from support.graphs import random_graph

from e3frame import o3
from e3frame.algebra import Irreps
from e3frame.model import ModelSpec, TypedModel
from e3frame.network import Model
from e3frame.spec.errors import SpecError
from e3frame.spec.validate import validate

BEFORE = """
species: {kind: species_embedding, irreps_out: 4x0e}
edge_sh: {kind: spherical_harmonics, irreps_out: 0e + 1o + 2e}
radial: {kind: radial_basis, num_basis: 4}
x: {kind: convolution, irreps_out: IRREPS, radial_mlp: [4], avg_num_neighbors: 3.0}
"""


def spec_of(layers: str, irreps: str = "4x0e + 4x1o") -> ModelSpec:
    named = yaml.safe_load(BEFORE.replace("IRREPS", irreps)) | yaml.safe_load(layers)
    named["energies"] = {"kind": "linear", "irreps_out": "0e"}
    outputs = {"energy": {"kind": "sum", "of": "energies"}}
    return validate(
        ModelSpec,
        {"r_max": 2.5, "species": ["H", "C", "O"], "layers": named, "outputs": outputs, "irreps": {"h": irreps}},
    )


def typed(layers: str, irreps: str = "4x0e + 4x1o") -> TypedModel:
    return spec_of(layers, irreps).typed()


def result(model: TypedModel, name: str) -> Irreps:
    return next(step.binding.irreps for step in model.steps if step.binding.name == name)


@pytest.mark.parametrize(
    ("irreps", "correlation", "gives"),
    [
        ("4x0e + 4x1o", 1, "4x0e + 4x1o"),
        ("4x0e + 4x1o", 3, "4x0e + 4x1o"),
        ("4x1o + 4x2e", 2, "4x0e + 4x1o + 4x2o + 4x2e"),
        ("4x1o + 4x2e", 3, "4x0e + 4x1o + 4x1e + 4x2o + 4x2e"),
    ],
)
def test_by_default_all_irreps_in_reach(irreps: str, correlation: int, gives: str) -> None:
    """Up to the largest degree of the input."""
    model = typed(f"p: {{kind: symmetric_product, correlation: {correlation}}}", irreps)
    assert result(model, "p") == Irreps(gives)


def test_a_gate_follows() -> None:
    """Twice as many scalars as channels are two products side by side, of which one gives the gates."""
    layers = "{p: {kind: symmetric_product, irreps_out: gate(h)}, g: {kind: gate}}"
    model = typed(layers)
    assert result(model, "p") == Irreps("8x0e + 4x1o")
    assert result(model, "g") == Irreps("4x0e + 4x1o")
    assert Model(spec_of(layers)).double()(random_graph(0))["energy"].isfinite().all()


@pytest.mark.parametrize(
    ("layers", "irreps", "warning"),
    [
        (
            "{p: {kind: symmetric_product, irreps_out: 4x1o, correlation: 1}, n: {kind: norm}}",
            "4x0e + 4x1o",
            ("irreps_out", "4x0e of 'x' (4x0e+4x1o) is not used: no product leads from it to irreps_out"),
        ),
        (
            "p: {kind: symmetric_product, irreps_out: 4x0e, correlation: 3}",
            "4x1o",
            ("correlation", "no product of 3 factors reaches irreps_out; correlation: 2 gives the same"),
        ),
    ],
)
def test_warnings(layers: str, irreps: str, warning: tuple[str, str]) -> None:
    (found,) = [each for each in typed(layers, irreps).warnings if each.path[:2] == ("layers", "p")]
    assert isinstance(found, SpecError)
    assert (found.path[-1], found.problem) == warning


def test_each_species_has_its_weights() -> None:
    for per_species, rows in ((True, 3), (False, 1)):
        spec = spec_of(f"p: {{kind: symmetric_product, per_species: {str(per_species).lower()}}}")
        step = next(step for step in spec.typed().steps if step.binding.name == "p")
        module = step.build()
        assert module.weight.shape == (rows, 1 + 2 + 2 + 1 + 1 + 2, 4)
        assert module.weight.numel() == step.num_parameters
        assert [(view.shape[axis], factor) for view, axis, factor in module.species_rows().get("weight", [])] == (
            [(3, 1.0)] if per_species else []
        )


def test_other_species_do_not_matter() -> None:
    """A node's result depends on the weights of its own species alone."""
    module = o3.SymmetricProduct("2x0e + 2x1o", "2x0e + 2x1o", 3, 3).double()
    x, index = torch.randn(6, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 1, 0])
    before = module(x, index)
    with torch.no_grad():
        module.weight[1] += 1
    changed = (module(x, index) - before).abs().amax(1) > 1e-6
    assert changed.tolist() == (index == 1).tolist()


@pytest.mark.parametrize("irreps", ["64x0e + 64x1o + 64x2e", "64x1o + 64x2o"])
@pytest.mark.parametrize("correlation", [1, 2, 3, 4])
def test_unit_variance_at_initialisation(irreps: str, correlation: int) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = o3.SymmetricProduct(irreps, irreps, correlation, 100)
    x = torch.randn(2000, module.irreps_in.dim, generator=generator)
    out = module(x, torch.randint(100, (2000,), generator=generator))
    for part in module.irreps_out.slices():
        assert out[:, part].square().mean().item() == pytest.approx(1.0, abs=0.1)


def test_index_or_none() -> None:
    for rows, index, message in (
        (None, torch.zeros(2, dtype=torch.long), "expected no index, got one"),
        (3, None, "expected an index of 3 sets of weights, got none"),
    ):
        with pytest.raises(ValueError, match=message):
            o3.SymmetricProduct("2x0e", "2x0e", 2, rows)(torch.zeros(2, 2), index)

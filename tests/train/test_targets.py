"""Targets of every form: what they are, what they ask of the data, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest
from support.runs import REMOVED, changed

from e3frame.algebra.irreps import Irreps
from e3frame.config.run import RunConfig
from e3frame.config.targets import TargetSpec, TaskSpec
from e3frame.data.sources.base import Label
from e3frame.spec.errors import SpecError
from e3frame.spec.validate import SpecErrors, validate


def target(**keys: Any) -> TargetSpec:
    return validate(TaskSpec, {"targets": {"it": keys}}).targets["it"]


@pytest.mark.parametrize(
    ("keys", "irreps", "domain", "label"),
    [
        ({"irreps": "0e", "per": "graph"}, "0e", "graph", Label("graph")),
        ({"irreps": "1o", "per": "node"}, "1o", "node", Label("node", (3,))),
        ({"irreps": "2x0e + 1o", "per": "node"}, "2x0e + 1o", "node", Label("node", (5,))),
        ({"cartesian": "ij=ji", "per": "graph"}, "0e + 2e", "graph", Label("graph", (3, 3))),
        ({"cartesian": "ij", "per": "edge"}, "0e + 1e + 2e", "edge", Label("edge", (3, 3))),
        ({"cartesian": "ij", "per": "node"}, "0e + 1e + 2e", "node", Label("node", (3, 3))),
        ({"cartesian": "ijk=jik=ikj", "per": "graph"}, "1o + 3o", "graph", Label("graph", (3, 3, 3))),
        ({"derive": "negative_gradient", "of": "energy"}, "1o", "node", Label("node", (3,))),
        ({"derive": "strain_gradient", "of": "energy"}, "0e + 2e", "graph", Label("graph", (3, 3))),
        ({"irreps": "0e", "per": "node", "sum": "total_charge"}, "0e", "node", Label("graph")),
    ],
)
def test_what_a_target_is(keys: dict[str, Any], irreps: str, domain: str, label: Label) -> None:
    it = target(**keys)
    assert it.type.irreps == Irreps(irreps)
    assert it.type.domain == domain
    assert it.label == label
    task = TaskSpec(targets={"it": it})
    assert validate(TaskSpec, task.model_dump(mode="json")) == task
    assert task.labels == {keys.get("sum", "it"): label}


def test_units_follow_the_label() -> None:
    raw = {
        "stress": {"derive": "strain_gradient", "of": "energy"},
        "charges": {"irreps": "0e", "per": "node", "sum": "total_charge"},
        "mine": {"irreps": "0e", "per": "graph", "unit": "cal/(mol K)"},
        "other": {"irreps": "0e", "per": "graph"},
    }
    task = validate(TaskSpec, {"targets": raw})
    assert [task.unit(name) for name in raw] == ["eV/Å^3", "e", "cal/(mol K)", ""]


def test_weights_change_with_the_epochs() -> None:
    it = target(irreps="0e", per="graph", weight={10: 0.5, 0: 2, 100: 10})
    assert [it.weight_at(epoch) for epoch in (0, 9, 10, 99, 100, 1000)] == [2, 2, 0.5, 0.5, 10, 10]
    assert (it.last_weight, it.trained) == (10, True)
    assert target(irreps="0e", per="graph", weight=3).weight_at(7) == 3


ENERGY = {"irreps": "0e", "per": "graph"}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"per": "graph"}, "one of irreps, cartesian and derive is required\n  for example irreps: 0e"),
    (ENERGY | {"cartesian": "ij"},
     "cartesian\n  irreps and cartesian both define the target\n  remove one of them"),
    ({"irreps": "0e"}, "per is required: graph, node or edge"),
    (ENERGY | {"per": "atom"}, "per\n  must be one of graph, node, edge; got atom"),
    (ENERGY | {"per": "edge", "per_atom": True},
     "per_atom\n  with per: edge, every value belongs to one edge already\n  remove per_atom"),
    (ENERGY | {"per": "edge", "species_weights": {"H": 2}},
     "species_weights\n  species_weights need a value per atom, but this target has one per edge\n"
     "  remove species_weights"),
    (ENERGY | {"per": "edge", "sum": "q"}, "sum\n  sum needs per: node\n  remove sum"),
    ({"derive": "negative_gradient"}, "of is required: the output to differentiate\n  for example of: energy"),
    (ENERGY | {"of": "energy"}, "of\n  of needs derive\n  remove of, or add derive"),
    (
        {"derive": "strain_gradient", "of": "energy", "per": "graph"},
        "per\n  strain_gradient is always per graph\n  remove per",
    ),
    (
        {"derive": "laplacian", "of": "energy"},
        "derive\n  must be one of negative_gradient, strain_gradient; got laplacian",
    ),
    (ENERGY | {"sum": "total"}, "sum\n  sum needs per: node\n  remove sum"),
    (ENERGY | {"per": "node", "sum": "q", "key": "q"}, "key\n  sum already names the label\n  remove key"),
    (
        ENERGY | {"species_weights": {"H": 2}},
        "species_weights\n  species_weights need a value per atom, but this target has one per graph\n"
        "  remove species_weights",
    ),
    (ENERGY | {"per": "node", "species_weights": {"Hx": 2}},
     "species_weights.Hx\n  Hx is not an element\n  did you mean H?"),
    (ENERGY | {"per": "node", "species_weights": {"H": -2}}, "species_weights\n  weights must be >= 0, got -2"),
    (
        {"cartesian": "ij=ji", "per": "graph", "component_weights": [1, 2, 3]},
        "component_weights\n  one weight per irrep is required: 1x0e+1x2e has 2, got 3 weights",
    ),
    ({"cartesian": "ij=ji=-ij", "per": "graph"}, "cartesian\n  only the zero tensor has the symmetry ij=ji=-ij\n"
     "  such as ij=ji for a symmetric matrix, ij for any, ij=-ji for an antisymmetric one"),
    ({"cartesian": 3, "per": "graph"}, "cartesian\n  a symmetry states which orders of indices are equal; got 3\n"
     "  such as ij=ji for a symmetric matrix, ij for any, ij=-ji for an antisymmetric one"),
    (ENERGY | {"weight": {0: -1}}, "weight.0\n  must be >= 0, got -1"),
    (ENERGY | {"weight": {"soon": 1}}, "weight.soon\n  an integer is required, got soon"),
    (ENERGY | {"weight": "much"}, "weight\n  a number is required, got much"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "message"), WRONG, ids=[str(number) for number in range(len(WRONG))])
def test_a_target_that_is_wrong(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecErrors) as caught:
        target(**keys)
    head = "targets.it\n  " if message.startswith(("one of", "per is", "of is r")) else "targets.it."
    assert str(caught.value.errors[0]) == head + message


def test_one_label_in_two_shapes() -> None:
    raw = {"a": ENERGY | {"key": "q"}, "b": {"irreps": "1o", "per": "graph", "key": "q"}}
    with pytest.raises(SpecErrors) as caught:
        validate(TaskSpec, {"targets": raw})
    assert str(caught.value.errors[0]) == (
        "targets\n  'a' and 'b' need the label 'q' in different shapes\n  name another label with key"
    )


def test_weights_that_end_with_zero() -> None:
    with pytest.raises(SpecErrors) as caught:
        target(**ENERGY, weight={0: 1, 10: 0})
    assert str(caught.value.errors[0]) == (
        "targets\n  no target has a last weight above 0, so no checkpoint would be the best"
    )


XYZ = {"kind": "xyz", "path": "a.xyz", "keys": {"energy": "E", "forces": "F", "stress": "S", "q": "q"}}
STRESS = {"derive": "strain_gradient", "of": "energy"}
UNFIT: list[tuple[dict[str, Any], str]] = [
    (
        {"task.targets.stress": STRESS},
        "task.targets.stress\n  the data have no label 'stress'\n"
        "  existing labels: energy, forces, dipole, polarizability\n"
        "  read other labels from your own files: data=xyz data.keys.stress=KEY",
    ),
    (
        {"task.targets.stress": STRESS | {"of": "enrgy"}, "data": XYZ},
        "task.targets.stress.of\n  the model has no output 'enrgy'\n  did you mean energy?",
    ),
    (
        {"task.targets.gate": STRESS, "data": XYZ},
        "task.targets.gate\n  the output 'gate' (strain_gradient) cannot be added: a layer of the model has this "
        "name\n  rename that layer",
    ),
    (
        {"model.outputs.forces": {"kind": "linear", "of": "conv", "irreps_out": "1o"},
         "task.targets.forces": {"derive": "negative_gradient", "of": "energy"}},
        "task.targets.forces.derive\n  the model's output 'forces' is the linear of conv, but the target is the "
        "negative_gradient of energy\n  describe the target by irreps and per instead of derive, or change the output",
    ),
    (
        {"model.outputs.polarizability": {"kind": "sum", "of": "gate"},
         "task.targets.polarizability": {"cartesian": "ij=ji", "per": "graph"}},
        "task.targets.polarizability.cartesian\n  the model's output 'polarizability' is 8x0e+4x1o, but the target is "
        "ij=ji: 1x0e+1x2e",
    ),
    (
        {"model.outputs.dipole": {"kind": "sum", "of": "readout"},
         "task.targets.dipole": {"irreps": "0e", "per": "graph"}},
        "task.targets.dipole\n  the label 'dipole' is (3,) per graph, but the target needs one per graph\n"
        "  if this is another label, name it with key",
    ),
    (
        {"model.layers.conv.irreps_out": "8x0e + 4x1o + 0e + 1o", "model.layers.gate": REMOVED,
         "model.layers.last.of": "conv", "model.outputs.charges": {"kind": "linear", "of": "conv", "irreps_out": "0e"},
         "task.targets.charges": {"irreps": "0e", "per": "node", "sum": "total_charge"}},
        "task.targets.charges.sum\n  the data have no label 'total_charge'\n"
        "  existing labels: energy, forces, dipole, polarizability\n"
        "  read other labels from your own files: data=xyz data.keys.total_charge=KEY",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), UNFIT, ids=[str(number) for number in range(len(UNFIT))])
def test_what_the_model_or_the_data_cannot_do(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        validate(RunConfig, changed(changes)).typed()
    assert str(caught.value) == message


def test_a_derived_target_brings_its_output() -> None:
    raw = changed({"data": XYZ, "task.targets.stress": STRESS, "model.outputs.forces": REMOVED})
    raw["task"]["targets"]["forces"] = {"derive": "negative_gradient", "of": "energy"}
    config = validate(RunConfig, raw)
    assert list(config.model.outputs) == ["energy", "forces", "stress"]
    typed = config.typed()
    assert [warning.path for warning in typed.warnings] == [("data", "keys", "q")]  # which no target learns
    assert typed.model.outputs["stress"].irreps == Irreps("0e + 2e")
    assert (typed.energy_label, typed.forces_label) == ("energy", "forces")
    assert validate(RunConfig, config.model_dump(mode="json")) == config


def test_an_untrained_stress_is_no_reason_to_warn() -> None:
    raw = changed({"model.outputs.stress": {"kind": "strain_gradient", "of": "energy"}})
    assert validate(RunConfig, raw).typed().warnings == ()

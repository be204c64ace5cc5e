"""Rounds of ``repeat``: what one round hands to the next, and to the layers after all of them."""

from __future__ import annotations

import torch
import yaml
from support.graphs import random_graph

from e3frame.layers._context import INPUTS, LAYERS
from e3frame.model import ModelSpec
from e3frame.network import Model
from e3frame.spec.validate import validate

CARRIED = """
s: {kind: extract, of: x, keep: 0e}
v: {kind: extract, of: x, keep: 1o}
rounds:
  kind: repeat
  times: 2
  carry: [s, v]
  layers:
    dot: {kind: tensor_product, product: square, x1: v, irreps_out: 4x0e}
    s_dot: {kind: concatenate, of: [s, dot]}
    s: {kind: linear, of: s_dot, irreps_out: 4x0e}
    mixed: {kind: linear, of: v, irreps_out: 3x1o}
    v: {kind: norm_activation, of: mixed}
    last: {kind: norm, of: v}
both: {kind: concatenate, of: [s, v, rounds]}
"""
UNROLLED = """
s0: {kind: extract, of: x, keep: 0e}
v0: {kind: extract, of: x, keep: 1o}
dot0: {kind: tensor_product, product: square, x1: v0, irreps_out: 4x0e}
s_dot0: {kind: concatenate, of: [s0, dot0]}
s1: {kind: linear, of: s_dot0, irreps_out: 4x0e}
mixed0: {kind: linear, of: v0, irreps_out: 3x1o}
v1: {kind: norm_activation, of: mixed0}
dot1: {kind: tensor_product, product: square, x1: v1, irreps_out: 4x0e}
s_dot1: {kind: concatenate, of: [s1, dot1]}
s2: {kind: linear, of: s_dot1, irreps_out: 4x0e}
mixed1: {kind: linear, of: v1, irreps_out: 3x1o}
v2: {kind: norm_activation, of: mixed1}
last: {kind: norm, of: v2}
both: {kind: concatenate, of: [s2, v2, last]}
"""


def model_of(layers: str) -> Model:
    raw = {"r_max": 2.5, "species": ["H", "C", "O"], "inputs": INPUTS, "layers": yaml.safe_load(LAYERS + layers)}
    torch.manual_seed(0)
    return Model(validate(ModelSpec, {**raw, "outputs": {"total": {"kind": "sum", "of": "both"}}})).double()


def test_carried_fields_are_those_of_the_round_before() -> None:
    """In each round, and after the last; the same model written without ``repeat`` gives the same numbers."""
    carried, unrolled, graph = model_of(CARRIED), model_of(UNROLLED), random_graph(0)
    steps = [step for step in carried.spec.typed().steps if step.binding.key.startswith("rounds/")]
    assert [step.binding.key for step in steps][::6] == ["rounds/0/dot", "rounds/1/dot"]
    state = {name: value.shape for name, value in carried.named_parameters()}
    assert [*state.values()] == [value.shape for value in unrolled.state_dict().values()]
    torch.testing.assert_close(carried(graph)["total"], unrolled(graph)["total"], rtol=0, atol=1e-12)


def test_other_fields_are_those_from_before_the_repeat() -> None:
    """Without ``carry``, a name inside hides the one outside for that round alone."""
    typed = model_of(CARRIED.replace("carry: [s, v]", "carry: [v]")).spec.typed()
    read = {step.binding.key: step.signature.inputs for step in typed.steps}
    assert read["rounds/1/s_dot"] == ("s", "rounds/1/dot")
    assert read["rounds/1/mixed"] == ("rounds/0/v",)
    assert read["both"] == ("s", "rounds/1/v", "rounds/1/last")


def test_carried_fields_may_change_their_irreps() -> None:
    layers = """
grown: {kind: extract, of: x, keep: 0e}
rounds:
  kind: repeat
  times: 2
  carry: [grown]
  layers: {grown: {kind: concatenate, of: [grown, grown]}}
both: {kind: linear, of: grown, irreps_out: 2x0e}
"""
    typed = model_of(layers).spec.typed()
    assert [str(step.binding.irreps.simplify()) for step in typed.steps[-4:-2]] == ["8x0e", "16x0e"]

"""Parity of activations, plans of gates, and their modules."""

from __future__ import annotations

import copy
import itertools
import re

import pytest
import torch
from e3nn import nn as oracle_nn

from e3frame.algebra.activations import (
    ACTIVATIONS,
    activation_irreps,
    activation_parity,
    gate_input,
    gate_split,
    plan_gate,
    symmetry_of,
)
from e3frame.algebra.irreps import Irreps
from e3frame.nn import Activation, Gate
from e3frame.nn.activation import FUNCTIONS, activation, symmetry

X = torch.linspace(-5, 5, 101, dtype=torch.float64)


def test_table_and_functions_agree():
    assert list(FUNCTIONS) == list(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_symmetry_is_what_the_table_says(name: str):
    f = FUNCTIONS[name]
    assert symmetry(f) == ACTIVATIONS[name] == symmetry(name)
    if ACTIVATIONS[name] != "neither":
        sign = -1 if ACTIVATIONS[name] == "odd" else 1
        torch.testing.assert_close(f(-X), sign * f(X), rtol=0, atol=1e-14)


def test_parity_of_activations():
    for name, kind in ACTIVATIONS.items():
        assert activation_parity(name, 1) == 1
        if kind != "neither":
            assert activation_parity(name, -1) == (-1 if kind == "odd" else 1)
    message = (
        "silu of an odd scalar (0o) has no parity: it is neither odd nor even; "
        "use tanh, sin, softsign, identity (0o stays 0o) or abs, square, cos, gaussian (0o becomes 0e)"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        activation_parity("silu", -1)
    with pytest.raises(ValueError, match=r"^this function of an odd scalar \(0o\) has no parity"):
        activation_parity("neither", -1)
    with pytest.raises(ValueError, match=r"^the parity must be 1 or -1, got 0$"):
        activation_parity("silu", 0)


def test_unknown_names():
    with pytest.raises(ValueError, match=r"^unknown activation 'sliu'; did you mean silu\?$"):
        symmetry_of("sliu")
    with pytest.raises(ValueError, match=r"^unknown activation 'zzz'; known: silu, sigmoid, "):
        activation("zzz")
    with pytest.raises(ValueError, match=r"^'odd' is a symmetry, not an activation; known: silu, "):
        activation("odd")


def test_activation_irreps_errors():
    with pytest.raises(ValueError, match=r"^8x0e\+4x0o needs 2 activations \(or None\), one for each term; got 1$"):
        activation_irreps("8x0e+4x0o", ["silu"])
    with pytest.raises(ValueError, match=r"^an activation needs scalars, got 2x1o; use a gate or a norm activation"):
        activation_irreps("2x1o", ["silu"])


def test_activation_equals_e3nn(generator: torch.Generator):
    ours = Activation("3x0e+2x0o+2x1o+4x0o", ["silu", torch.abs, None, "tanh"])
    theirs = oracle_nn.Activation("3x0e+2x0o+2x1o+4x0o", [FUNCTIONS["silu"], torch.abs, None, torch.tanh])
    assert str(ours.irreps_out) == str(theirs.irreps_out) == "3x0e+2x0e+2x1o+4x0o"
    x = torch.randn(5, 2, 15, generator=generator)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(ours(x.transpose(0, 2), dim=0), ours(x).transpose(0, 2))


def test_activation_of_nothing():
    assert Activation("", [])(torch.zeros(4, 0)).shape == (4, 0)


def test_activation_is_equivariant(assert_equivariant, generator: torch.Generator):
    module = Activation("3x0e+2x0o+2x1o+4x0o", ["silu", "cos", None, "sin"])
    x = torch.randn(6, 15, generator=generator)
    assert_equivariant(module, module.irreps_in, module.irreps_out, x)


SCALARS = [("", []), ("3x0e", ["silu"]), ("2x0e+2x0o+1x0e", ["silu", "tanh", "relu"]), ("2x0o", ["abs"])]
GATES = [
    ("", [], ""),
    ("5x0e", ["sigmoid"], "2x1o+3x2e"),
    ("2x0e+3x0o", ["sigmoid", "tanh"], "4x1o+1x0e"),
    ("3x0o+1x0e", ["abs", "silu"], "1x2e+1x1e+2x0o"),
]


@pytest.mark.parametrize(("scalars", "gates"), list(itertools.product(SCALARS, GATES)))
def test_gate_equals_e3nn(scalars, gates, generator: torch.Generator):
    def functions(names):
        return [FUNCTIONS[name] for name in names]

    ours = Gate(*scalars, *gates)
    if not (scalars[0] or gates[0]):
        assert ours(torch.zeros(2, 0)).shape == (2, 0)
        return
    theirs = oracle_nn.Gate(scalars[0], functions(scalars[1]), gates[0], functions(gates[1]), gates[2])
    assert str(ours.irreps_in) == str(theirs.irreps_in)
    assert str(ours.irreps_out) == str(theirs.irreps_out)
    x = torch.randn(7, ours.irreps_in.dim, generator=generator)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(ours(x.reshape(7, 1, -1)), ours(x).reshape(7, 1, -1))


def test_gate_takes_functions():
    by_name = Gate("2x0e+2x0o", ["silu", "tanh"], "3x0e", ["sigmoid"], "3x1o")
    given = Gate("2x0e+2x0o", [FUNCTIONS["silu"], torch.tanh], "3x0e", [torch.sigmoid], "3x1o")
    assert by_name.irreps_out == given.irreps_out
    x = torch.randn(4, by_name.irreps_in.dim)
    assert torch.equal(by_name(x), given(x))


def test_gate_is_equivariant(assert_equivariant, generator: torch.Generator):
    gate = Gate("3x0e+2x0o", ["silu", "tanh"], "2x0e+3x0o", ["sigmoid", "tanh"], "2x1o+2x2e+1x1e")
    x = torch.randn(6, gate.irreps_in.dim, generator=generator)
    assert_equivariant(gate, gate.irreps_in, gate.irreps_out, x)


def test_gate_has_unit_second_moment(generator: torch.Generator):
    gate = Gate("16x0e", ["silu"], "32x0e", ["sigmoid"], "16x1o+16x2e")
    out = gate(torch.randn(4000, gate.irreps_in.dim, generator=generator)).square()
    for piece in gate.irreps_out.slices():
        assert out[:, piece].mean() == pytest.approx(1.0, abs=0.05)


def test_gate_derivatives(generator: torch.Generator):
    gate = Gate("2x0e", ["silu"], "2x0e", ["sigmoid"], "1x1o+1x2e")
    x = torch.randn(2, gate.irreps_in.dim, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(gate, x)
    assert torch.autograd.gradgradcheck(gate, x)


def test_gate_casts_and_copies(generator: torch.Generator):
    gate = Gate("2x0e", ["silu"], "2x0e", ["sigmoid"], "1x1o+1x2e")
    x = torch.randn(3, gate.irreps_in.dim, generator=generator)
    assert not gate.state_dict()
    out = copy.deepcopy(gate).float()(x.float())
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), gate(x), rtol=1e-5, atol=1e-6)


def test_gate_errors():
    with pytest.raises(ValueError, match=r"^the scalars of a gate must have l = 0, got 2x1o$"):
        plan_gate("2x1o", ["silu"], "", [], "")
    with pytest.raises(ValueError, match=r"^the gates of a gate must have l = 0, got 1x1o$"):
        plan_gate("", [], "1x1o", ["silu"], "1x1o")
    message = "a gate needs one gate scalar for each gated irrep: 5 for 3x1o+2x2e, got 4 (4x0e)"
    with pytest.raises(ValueError, match=re.escape(message)):
        plan_gate("2x0e", ["silu"], "4x0e", ["sigmoid"], "3x1o+2x2e")
    with pytest.raises(ValueError, match=r"^sigmoid of an odd scalar \(0o\) has no parity"):
        plan_gate("", [], "4x0o", ["sigmoid"], "4x1o")
    with pytest.raises(ValueError, match=r"^the last axis must be 12 \(3x0e\+3x1o\), got 11$"):
        Gate("", [], "3x0e", ["silu"], "3x1o")(torch.zeros(2, 11))


@pytest.mark.parametrize("irreps", ["8x0e", "4x0e+2x1o", "2x0o+4x0e+2x1o+3x1e+1x2e", "3x1o", ""])
def test_gate_input_and_split_are_inverse(irreps: str):
    split = gate_split(gate_input(irreps))
    acts = [["tanh"] * len(part) for part in (split.irreps_scalars, split.irreps_gates)]
    plan = plan_gate(split.irreps_scalars, acts[0], split.irreps_gates, acts[1], split.irreps_gated)
    assert plan.irreps_in == gate_input(irreps)
    assert plan.irreps_out == Irreps(irreps).regroup()


def test_odd_gates_turn_parity():
    needed = gate_input("4x0e+2x1o+1x2e", gate_parity=-1)
    assert str(needed) == "3x0o+4x0e+2x1e+1x2o"
    split = gate_split(needed, gate_parity=-1)
    plan = plan_gate(split.irreps_scalars, ["silu"], split.irreps_gates, ["tanh"], split.irreps_gated)
    assert plan.irreps_out == Irreps("4x0e+2x1o+1x2e")


def test_gate_split_needs_enough_scalars():
    message = (
        "a gate needs one 0e for each irrep of l > 0: 64 for 32x1o+32x2e, got 32 in 32x0e+32x1o+32x2e; "
        "for the output 32x0e+32x1o+32x2e, its input must be 96x0e+32x1o+32x2e"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        gate_split("32x0e+32x1o+32x2e")

"""Extraction of irreps, and the identity: e3nn's results, its attributes, messages."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from e3nn import nn as oracle_nn

from e3frame.nn import Extract, ExtractIr, Identity

IRREPS = "2x1e+3x0e+0x2e+1x1e+4x0o"
CASES = [
    (["0e", "0e"], [(1,), (2,)], "1e+0e+0e"),
    ([IRREPS], [(0, 1, 2, 3, 4)], IRREPS),
    (["3x0e+1x1e", "4x0o+2x1e+2x1e", ""], [(1, 3), (4, 0, 0), ()], IRREPS),
    (["0x2e"], [(2,)], IRREPS),
]


@pytest.mark.parametrize("squeeze_out", [False, True])
@pytest.mark.parametrize(("irreps_outs", "instructions", "irreps_in"), CASES)
def test_extract_is_that_of_e3nn(irreps_outs, instructions, irreps_in, squeeze_out: bool, generator: torch.Generator):
    ours = Extract(irreps_in, irreps_outs, instructions, squeeze_out)
    theirs = oracle_nn.Extract(irreps_in, irreps_outs, instructions, squeeze_out)
    assert str(ours.irreps_outs) == str(theirs.irreps_outs)
    assert ours.instructions == theirs.instructions
    assert not ours.state_dict()
    for lead in ((), (5,), (2, 3)):
        x = torch.randn(*lead, ours.irreps_in.dim, generator=generator)
        found, expected = ours(x), theirs(x)
        assert isinstance(found, tuple) is isinstance(expected, tuple)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("ir", ["1e", "0e", "0o", "2e", "3o"])
def test_extract_ir_is_that_of_e3nn(ir: str, generator: torch.Generator):
    ours, theirs = ExtractIr(IRREPS, ir), oracle_nn.ExtractIr(IRREPS, ir)
    assert str(ours.irreps_out) == str(theirs.irreps_out)
    x = torch.randn(3, ours.irreps_in.dim, generator=generator)
    assert torch.equal(ours(x), theirs(x))


def test_extract_copies_what_it_gives(generator: torch.Generator):
    x = torch.randn(4, 16, generator=generator)
    before = x.clone()
    ExtractIr(IRREPS, "0e")(x).zero_()
    Extract(IRREPS, [IRREPS], [(0, 1, 2, 3, 4)], squeeze_out=True)(x).zero_()
    assert torch.equal(x, before)


def test_extract_is_equivariant(assert_equivariant, generator: torch.Generator):
    module = Extract(IRREPS, ["4x0o+2x1e"], [(4, 0)], squeeze_out=True)
    x = torch.randn(4, module.irreps_in.dim, generator=generator, requires_grad=True)
    assert_equivariant(module, module.irreps_in, module.irreps_outs[0], x)
    assert torch.autograd.gradcheck(module, x)
    assert torch.autograd.gradgradcheck(module, x)
    assert copy.deepcopy(module).float()(x.float()).dtype == torch.float32


@pytest.mark.parametrize(
    ("irreps_outs", "instructions", "message"),
    [
        (["0e"], [], "each of 1 outputs needs an instruction, got 0 instructions"),
        (["0e"], [(2,)], "instruction 0: (2,) is outside 1x1o+1x0e, which has 2 terms"),
        (["0e"], [(-1,)], "instruction 0: (-1,) is outside 1x1o+1x0e, which has 2 terms"),
        (["0e", "0e"], [(1,), (0,)], "instruction 1: the terms (0,) of 1x1o+1x0e are 1x1o, not 1x0e"),
    ],
)
def test_wrong_instructions(irreps_outs, instructions, message: str):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Extract("1o+0e", irreps_outs, instructions)


def test_wrong_shapes():
    with pytest.raises(ValueError, match=r"^the last axis must be 4 \(1x1o\+1x0e\), got 3$"):
        ExtractIr("1o+0e", "0e")(torch.zeros(2, 3))


def test_identity(generator: torch.Generator):
    ours, theirs = Identity("2x1o+3x1o+0e", "5x1o+0e+0x2e"), oracle_nn.Identity("2x1o+3x1o+0e", "5x1o+0e")
    assert repr(ours) == repr(theirs) == "Identity(5x1o+1x0e -> 5x1o+1x0e)"
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 16, generator=generator)
    assert torch.equal(ours(x), x)
    assert copy.deepcopy(ours).float().output_mask.dtype == torch.float32
    assert Identity("", "").output_mask.shape == (0,)
    with pytest.raises(ValueError, match=r"^irreps_in and irreps_out of an identity must be equal, got 5x1o and 5x1e$"):
        Identity("2x1o+3x1o", "5x1e")

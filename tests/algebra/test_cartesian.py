"""Index symmetries: the group of a formula, and the irreps of the tensors that have it."""

from __future__ import annotations

import numpy as np
import pytest

from e3frame.algebra.cartesian import cartesian_irreps, index_irreps, read_formula, reduce_tensor
from e3frame.algebra.irreps import Irrep, Irreps

FORMULAS = {
    "i": 3,
    "ij": 9,
    "ij=ji": 6,
    "ij=-ji": 3,
    "ijk=jik": 18,
    "ijk=-jik=-ikj": 1,
    "ijk=jki": 11,
    "ijk=jik=ikj": 10,
    "ijkl=jikl=ijlk=klij": 21,
    "ijkl=-jikl=-ijlk=klij": 6,
}


def reduced(formula: str, **irreps: str):
    indices, group = read_formula(formula)
    own = index_irreps(indices, group, {i: Irreps(given) for i, given in irreps.items()})
    return group, reduce_tensor(indices, group, own)


@pytest.mark.parametrize("formula", FORMULAS)
def test_basis_is_orthonormal_symmetric_and_complete(formula: str) -> None:
    group, tensor = reduced(formula, **dict.fromkeys(formula.split("=")[0], "1o"))
    Q = tensor.change_of_basis
    assert len(Q) == tensor.irreps_out.dim == FORMULAS[formula]
    np.testing.assert_allclose(np.tensordot(Q, Q, axes=(range(1, Q.ndim),) * 2), np.eye(len(Q)), atol=1e-12)
    for s, p in group:
        np.testing.assert_allclose(s * Q.transpose(0, *(1 + i for i in p)), Q, atol=1e-12)
    assert not Q.flags.writeable


@pytest.mark.parametrize("formula", [*FORMULAS, "ij=ji=-ij", "ijk", "ijkl=jkli"])
def test_characters_count_what_the_reduction_finds(formula: str) -> None:
    _, tensor = reduced(formula, **dict.fromkeys(formula.split("=")[0], "1o"))
    assert cartesian_irreps(formula) == tensor.irreps_out


def test_a_group_holds_all_compositions() -> None:
    indices, group = read_formula(" ijk = jik=ikj")
    assert indices == "ijk"
    assert len(group) == 6
    assert len(read_formula("ijk=jki")[1]) == 3
    assert {s for s, p in read_formula("ijk=-jik=-ikj")[1] if p == (1, 2, 0)} == {1}


def test_a_contradiction_leaves_nothing() -> None:
    _, tensor = reduced("ij=ji=-ij", i="1o")
    assert tensor.irreps_out == ()
    assert tensor.change_of_basis.shape == (0, 3, 3)


def test_filters() -> None:
    indices, group = read_formula("ijk=jik=ikj")
    irreps = (Irreps("1o"),) * 3
    kept = reduce_tensor(indices, group, irreps, frozenset([Irrep("3o")]))
    assert kept.irreps_out == Irreps("3o")
    # The symmetric 1o takes both 0e and 2e of the first two indices: without 2e it cannot be made.
    through = reduce_tensor(indices, group, irreps, None, frozenset(map(Irrep, ("0e", "1o"))))
    assert through.irreps_out == ()


@pytest.mark.parametrize(
    ("formula", "irreps", "error", "message"),
    [
        ("-ij=ji", {}, RuntimeError, "first side of '-ij=ji' must have no minus"),
        ("ij=jk", {}, RuntimeError, "'jk' is not a permutation of the distinct indices 'ij'"),
        ("ii", {}, RuntimeError, "'ii' is not a permutation"),
        ("ij", {"i": "1o"}, RuntimeError, r"index j of ij has no irreps: pass j=\.\.\."),
        (
            "ij=ji",
            {"i": "1o", "j": "1e"},
            RuntimeError,
            "indices i and j are exchanged and need equal irreps, got 1x1. and 1x1",
        ),
        ("ij", {"i": "1o", "j": "1e", "k": "1o"}, RuntimeError, "irreps are given for k, which is not an index of ij"),
        ("ij", {"filter_out": "1o"}, TypeError, "unexpected keyword argument 'filter_out'"),
    ],
)
def test_errors(formula: str, irreps: dict[str, str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        reduced(formula, **irreps)

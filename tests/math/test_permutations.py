"""Permutations, their representations, and tensors of a given index symmetry."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from e3nn import math as oracle
from e3nn.math import perm as oracle_perm

from e3frame.math import germinate_formulas, perm, reduce_permutation

FORMULAS = {
    "ij=-ji": {"i": 3},
    "ij=ji": {"j": 3},
    "ij": {"i": 2, "j": 3},
    "ijk=-jik=-kji": {"i": 3},
    "ijk=jik=ikj": {"k": 2},
    "ijk=jki": {"i": 3},
    "ijkl=-jikl=-ijlk=klij": {"i": 3},
    "ijkl=jikl=ijlk": {"i": 2, "k": 3},
    "ij=-ij": {"i": 2, "j": 2},
    "i": {"i": 3},
}


@pytest.mark.parametrize("n", range(5))
def test_permutations_are_those_of_e3nn(n: int):
    everything = perm.group(n)
    assert everything == oracle_perm.group(n)
    for i, p in enumerate(sorted(everything)):
        assert perm.from_int(i, n) == oracle_perm.from_int(i, n)
        assert perm.to_int(p) == oracle_perm.to_int(p)
        assert perm.from_int(perm.to_int(p), n) == p
        assert perm.inverse(p) == oracle_perm.inverse(p)
        assert perm.compose(p, perm.inverse(p)) == perm.identity(n) == oracle_perm.identity(n)
        assert perm.to_cycles(p) == oracle_perm.to_cycles(p)
        assert perm.sign(p) == oracle_perm.sign(p)
        assert perm.is_perm(p)
    for p, q in itertools.product(random.Random(1).sample(sorted(everything), min(6, len(everything))), repeat=2):
        assert perm.compose(p, q) == oracle_perm.compose(p, q)
        assert perm.sign(perm.compose(p, q)) == perm.sign(p) * perm.sign(q)


@pytest.mark.parametrize("subset", [{(1, 0, 2, 3)}, {(1, 2, 3, 0)}, {(1, 0, 2, 3), (1, 2, 3, 0)}, {(0, 1)}, set()])
def test_generated_groups(subset: set):
    group = perm.germinate(subset)
    assert group == oracle_perm.germinate(subset)
    assert perm.is_group(group) == oracle_perm.is_group(group) == bool(subset)


def test_what_is_no_group():
    for subset in (set(), {(1, 0)}, {(0, 1, 2), (1, 2, 0)}, {(0, 1, 2), (1, 2, 0), (1, 0, 2)}):
        assert perm.is_group(subset) is oracle_perm.is_group(subset) is False
    assert not perm.is_perm((0, 2))
    assert not perm.is_perm((0, 0, 1))
    with pytest.raises(ValueError, match=r"equally many objects are required, got \(0, 1\) and \(0,\)$"):
        perm.compose((0, 1), (0,))
    with pytest.raises(ValueError, match=r"equally many objects are required, got \(0, 2\) and \(0, 1\)$"):
        perm.compose((0, 2), (0, 1))


def test_random_permutations():
    state = random.getstate()
    try:
        random.seed(3)
        ours = [perm.rand(5) for _ in range(20)]
        random.seed(3)
        assert ours == [oracle_perm.rand(5) for _ in range(20)]
    finally:
        random.setstate(state)
    assert len(set(ours)) > 10


@pytest.mark.parametrize("name", ["natural_representation", "standard_representation"])
def test_representations(name: str):
    D, theirs = getattr(perm, name), getattr(oracle_perm, name)
    rng = random.Random(2)
    for n in (2, 3, 4):
        for p, q in itertools.product(rng.sample(sorted(perm.group(n)), 2), repeat=2):
            torch.testing.assert_close(D(p) @ D(q), D(perm.compose(p, q)), rtol=0, atol=1e-12)
            torch.testing.assert_close(D(p), theirs(p), rtol=0, atol=1e-12)
    assert D((1, 0, 2), dtype=torch.float32).dtype == torch.float32


@pytest.mark.parametrize("formula", FORMULAS)
def test_symmetries_of_indices_are_those_of_e3nn(formula: str):
    indices, group = germinate_formulas(formula)
    assert (indices, group) == oracle.germinate_formulas(formula)
    Q, elements = reduce_permutation(indices, group, **FORMULAS[formula])
    theirs, their_elements = oracle.reduce_permutation(indices, group, **FORMULAS[formula])
    torch.testing.assert_close(Q, theirs, rtol=0, atol=1e-15)
    assert elements == their_elements
    flat = Q.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(len(Q)))
    for sign, p in group:
        torch.testing.assert_close(Q.permute(0, *(1 + i for i in p)), sign * Q)


def test_types_of_reduced_tensors():
    Q, _ = reduce_permutation(*germinate_formulas("ij=ji"), dtype=torch.float32, device="cpu", i=3)
    assert Q.dtype == torch.float32
    dims = {"i": 3}
    reduce_permutation(*germinate_formulas("ij=ji"), **dims)
    assert dims == {"i": 3}


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("-ij=ji", "the first side of '-ij=ji' must have no minus sign"),
        ("ij=jk", "'ij=jk': 'jk' is not a permutation of the distinct indices 'ij'"),
        ("ij=jik", "'ij=jik': 'jik' is not a permutation of the distinct indices 'ij'"),
        ("ii=ii", "'ii=ii': 'ii' is not a permutation of the distinct indices 'ii'"),
    ],
)
def test_wrong_formulas(formula: str, message: str):
    with pytest.raises(RuntimeError) as error:
        germinate_formulas(formula)
    assert str(error.value) == message


def test_wrong_dimensions():
    group = germinate_formulas("ijk=jik")
    with pytest.raises(RuntimeError, match=r"^index k of 'ijk' has no dimension: pass k=\.\.\.$"):
        reduce_permutation(*group, i=2)
    with pytest.raises(RuntimeError, match=r"are exchanged and need equal dimensions, got [23] and [32]$"):
        reduce_permutation(*group, i=2, j=3, k=1)

"""Couplings of symmetric products: their number, independence and normalization, and the change between bases."""

from __future__ import annotations

import re
from itertools import permutations, product

import numpy as np
import pytest

from e3frame.algebra import Irrep, Irreps
from e3frame.algebra.symmetric_counts import count_full, count_reduced
from e3frame.algebra.symmetric_entries import Entries
from e3frame.algebra.symmetric_power import full_couplings
from e3frame.algebra.symmetric_product import (
    SymmetricProductPlan,
    plan_symmetric_product,
    reachable_by_powers,
)

PLANS = [
    *(plan_symmetric_product("2x0e + 2x1o + 2x2e", "2x0e + 4x1o + 2x2e", n) for n in (1, 2, 3)),
    plan_symmetric_product("2x0e + 2x1o", "2x0e + 2x1o + 2x2e", 4, rows=3),
    plan_symmetric_product("1o + 1e + 1o", "0e + 0o + 1e + 2o", 3),
    plan_symmetric_product("0o + 2e", "0o + 0e + 2e + 4x3e", 4),
]


def name(plan: SymmetricProductPlan) -> str:
    return f"{plan.irreps_in} -> {plan.irreps_out}, {plan.correlation}"


def character(l: int, angle: np.ndarray) -> np.ndarray:  # noqa: E741
    return sum(np.cos(m * angle) for m in range(-l, l + 1))


def multiplicity(terms: tuple[Irrep, ...], order: int, ir: Irrep) -> float:
    """Of an irrep in a symmetric power: the mean over O(3) of the product of their characters.

    The character of the symmetric power is the mean over permutations of the products of χ(g^length) over their cycles.
    """
    nodes = (np.arange(64) + 0.5) * np.pi / 64
    weights = (1 - np.cos(nodes)) / 64  # of the angles of rotations
    total = 0.0
    for parity in (1, -1):

        def chi(length: int, parity: int = parity) -> np.ndarray:
            return sum(
                (each.p if parity == -1 and length % 2 else 1) * character(each.l, length * nodes) for each in terms
            )

        group = list(permutations(range(order)))
        power = sum(np.prod([chi(length) for length in cycles(p)], axis=0) for p in group) / len(group)
        own = (ir.p if parity == -1 else 1) * character(ir.l, nodes)
        total += float(weights @ (power * own)) / 2
    return total


def cycles(permutation: tuple[int, ...]) -> list[int]:
    left, lengths = set(range(len(permutation))), []
    while left:
        start = i = left.pop()
        lengths.append(1)
        while (i := permutation[i]) != start:
            left.remove(i)
            lengths[-1] += 1
    return lengths


@pytest.mark.parametrize("text", ["0e + 1o + 2e + 3o", "0o + 1e", "1o + 1o", "2e", "4e + 1o"])
def test_number_of_couplings_is_that_of_the_characters(text: str) -> None:
    terms = tuple(ir for _, ir in Irreps(text))
    for order in (1, 2, 3, 4):
        found = count_reduced(terms, order)
        assert sum(n * ir.dim for ir, n in found.items()) == np.prod(
            [(sum(ir.dim for ir in terms) + k) / (k + 1) for k in range(order)]
        )
        for ir in Irrep.iterator(5):
            assert found[ir] == pytest.approx(multiplicity(terms, order, ir), abs=1e-9)


def test_numbers_of_mace() -> None:
    """With l <= 3: those of its U matrices, and of the independent ones among these."""
    terms = tuple(Irrep(degree, (-1) ** degree) for degree in range(4))
    for order, full, reduced in ((1, (1, 1), (1, 1)), (2, (4, 6), (4, 3)), (3, (23, 51), (8, 12))):
        for ir, n, m in zip((Irrep("0e"), Irrep("1o")), full, reduced, strict=True):
            assert count_full(terms, order)[ir] == n == len(full_couplings(terms, order, ir))
            assert count_reduced(terms, order)[ir] == m


def dense(entries: Entries, number: int, first: int, monomials: np.ndarray, dim: int) -> np.ndarray:
    """(components, couplings of the degree, monomials)."""
    out = np.zeros((dim, number, len(monomials)))
    np.add.at(out, (entries.component, entries.coupling - first, entries.monomial), entries.coefficient)
    return out


@pytest.mark.parametrize("plan", PLANS, ids=name)
def test_reduced_couplings_are_orthogonal(plan: SymmetricProductPlan) -> None:
    for block in plan.blocks:
        first = 0
        for order, (number, entries) in enumerate(zip(block.numbers, block.entries, strict=True), start=1):
            monomials = plan.monomials[order - 1]
            c = dense(entries, number, first, monomials, block.ir.dim)
            powers = np.array([np.bincount(row, minlength=plan.dim) for row in monomials])
            factorials = np.array([1.0, 1.0, 2.0, 6.0, 24.0])
            overlap = np.einsum("kpm,lqm,m->klpq", c, c, factorials[powers].prod(1))
            norms = np.einsum("kkpp->p", overlap) / block.ir.dim
            assert number == 0 or norms.min() > 1e-3
            expected = np.einsum("kl,pq,p->klpq", np.eye(block.ir.dim), np.eye(number), norms)
            np.testing.assert_allclose(overlap, expected, atol=1e-12)
            first += number


@pytest.mark.parametrize("plan", PLANS, ids=name)
def test_each_degree_has_the_same_share_of_a_unit_variance(plan: SymmetricProductPlan) -> None:
    """For independent normal inputs, E[x^n] = (n - 1)!!."""
    moment = np.array([1.0, 0, 1, 0, 3, 0, 15, 0, 105])
    for block in plan.blocks:
        shares, first = [], 0
        for order, (number, entries) in enumerate(zip(block.numbers, block.entries, strict=True), start=1):
            monomials = plan.monomials[order - 1]
            c = dense(entries, number, first, monomials, block.ir.dim)
            powers = np.array([np.bincount(row, minlength=plan.dim) for row in monomials])
            moments = moment[powers[:, None] + powers].prod(2)
            second = np.einsum("kpm,mn,kpn->kp", c, moments, c)
            if number:
                np.testing.assert_allclose(second, second[0, 0], atol=1e-12)
                shares.append(second.sum(1))
            first += number
        np.testing.assert_allclose(shares, 1 / len(shares), atol=1e-12)


@pytest.mark.parametrize("plan", PLANS, ids=name)
def test_layout(plan: SymmetricProductPlan) -> None:
    start = first = 0
    for block in plan.blocks:
        assert (block.start, block.first) == (start, first)
        counted = [0]
        for order, (number, entries) in enumerate(zip(block.numbers, block.entries, strict=True)):
            assert number == count_reduced(plan.terms, order + 1)[block.ir]
            assert set(entries.coupling) == set(range(sum(counted), sum(counted) + number))
            counted.append(number)
            keys = list(zip(entries.component, entries.monomial, entries.coupling, strict=True))
            assert keys == sorted(set(keys))
            assert not entries.coefficient.flags.writeable
        start, first = start + plan.mul * block.ir.dim, first + sum(counted)
    assert (start, first) == (plan.irreps_out.dim, plan.num_couplings)
    assert plan.weight_shape == (plan.rows, first, plan.mul)
    for order, monomials in enumerate(plan.monomials, start=1):
        rows = list(map(tuple, monomials.tolist()))
        assert rows == sorted({tuple(sorted(row)) for row in rows})
        assert {len(row) for row in rows} == {order}
        if order > 1:
            np.testing.assert_array_equal(plan.monomials[order - 2][plan.prefixes[order - 2]], monomials[:, :-1])


@pytest.mark.parametrize("plan", PLANS, ids=name)
def test_weights_of_the_full_basis_become_reduced(plan: SymmetricProductPlan) -> None:
    full = plan_symmetric_product(plan.irreps_in, plan.irreps_out, plan.correlation, plan.rows, "full")
    assert full.reduced() == plan
    random = np.random.default_rng(0)
    w = random.normal(size=full.weight_shape)
    reduced = full.reduce_weights(w)
    for x in random.normal(size=(3, plan.dim)):
        np.testing.assert_allclose(values(full, w, x), values(plan, reduced, x), atol=1e-11)
    np.testing.assert_allclose(plan.reduce_weights(reduced), reduced, atol=1e-11)


def values(plan: SymmetricProductPlan, w: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Of each block, its components for each row of the weights and channel, all with the same components x."""
    outs = []
    for block in plan.blocks:
        out = np.zeros((block.ir.dim, plan.rows, plan.mul))
        for monomials, entries in zip(plan.monomials, block.entries, strict=True):
            terms = (
                w[:, block.first + entries.coupling]
                * (entries.coefficient * x[monomials].prod(1)[entries.monomial])[:, None]
            )
            np.add.at(out, entries.component, terms.transpose(1, 0, 2))
        outs.append(out)
    return np.concatenate(outs)


def test_tensors_are_expressed_by_the_reduced_basis() -> None:
    plan = plan_symmetric_product("3x0e + 3x1o + 3x2e", "3x1o", 3)
    random = np.random.default_rng(0)
    x, v = random.normal(size=plan.dim), random.normal(size=21)
    u = np.zeros((3, 9, 9, 9, 21))
    for p, part in enumerate(full_couplings(plan.terms, 3, Irrep("1o"))):
        own = [range(n**2, (n + 1) ** 2) for n in part.sector]
        rows = dict.fromkeys(tuple(sorted(row)) for row in product(*own))
        for m, row in enumerate(sorted(rows)):
            u[(slice(None), *random.permutation(row), p)] = part.coefficients[0, :, m]
    w = np.zeros(plan.weight_shape)
    w[:, -sum(plan.numbers[Irrep("1o")][2:]) :] = (plan.express(Irrep("1o"), u) @ v)[:, None]
    expected = np.einsum("kabcp,a,b,c,p->k", u, x, x, x, v)
    np.testing.assert_allclose(values(plan, w, x)[:, 0], np.stack([expected] * 3, 1), atol=1e-12)


def test_reachable_irreps() -> None:
    assert reachable_by_powers("3x1o", 2) == tuple(map(Irrep, ("0e", "1o", "2e")))
    assert Irrep("1e") in reachable_by_powers("3x1o + 3x2e", 3)
    assert Irrep("5e") in reachable_by_powers("3x2e", 4)
    assert Irrep("5e") not in reachable_by_powers("3x2e", 4, "full")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("2x0e + 3x1o", "2x0e", 2), "a symmetric product needs terms of one multiplicity, got 2x0e and 3x1o in"),
        (("", "2x0e", 2), "a symmetric product needs irreps, got none"),
        (("2x0e", "3x0e", 2), "the multiplicity of each output must be a multiple of 2, got 3x0e"),
        (("2x1o", "2x1e", 2), "2x1e is out of reach: products of 1 to 2 of 2x1o give 0e, 1o, 2e"),
        (
            ("2x1o + 2x2e", "2x0o", 4, 1, "full"),
            "2x0o is out of reach: products of 1 to 4 of 2x1o+2x2e give 0e, 1o, 1e",
        ),
        (("2x0e", "2x0e", 5), "correlation must be 1 to 4, got 5"),
        (("2x0e", "2x0e", 2, 0), "rows must be positive, got 0"),
        (("2x0e", "2x0e", 2, 1, "half"), "basis must be one of reduced, full; got 'half'"),
    ],
)
def test_errors(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        plan_symmetric_product(*arguments)

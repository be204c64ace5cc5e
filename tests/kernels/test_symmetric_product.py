"""The symmetric product in plain torch: the sum over all couplings, mace-torch's numbers, equivariance, derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from e3frame import kernels, o3
from e3frame.algebra import Irrep, wigner
from e3frame.algebra.symmetric_power import sign_before
from e3frame.algebra.symmetric_product import SymmetricProductPlan, plan_symmetric_product
from e3frame.kernels.backends import use

CLOSE = {"atol": 1e-10, "rtol": 0}
PLANS = [
    plan_symmetric_product("2x0e + 2x1o + 2x2e", "2x0e + 4x1o + 2x2e", 3, rows=3),
    plan_symmetric_product("3x0e + 3x1o", "3x0e", 4, rows=2),
    plan_symmetric_product("1o + 1e + 1o", "0e + 0o + 1e + 2o", 3),
    plan_symmetric_product("2x0o + 2x2e", "2x0o + 2x2e + 4x3e", 4),
    plan_symmetric_product("2x0e + 2x1o", "2x1o + 2x0e", 1, rows=2),
    plan_symmetric_product("2x0e + 2x1o + 2x1e", "4x1o + 2x1e", 3, basis="full"),
    plan_symmetric_product("2x0e + 2x1o", "2x1o + 2x0e", 4, rows=2, basis="full"),
]


@pytest.fixture(autouse=True)
def reference():
    with use("reference"):
        yield


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def name(plan: SymmetricProductPlan) -> str:
    return f"{plan.irreps_in} -> {plan.irreps_out}, {plan.correlation}, {plan.basis}"


def arguments(plan: SymmetricProductPlan, generator: torch.Generator, n: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    options = {"generator": generator, "dtype": torch.float64}
    return (
        torch.randn(n, plan.irreps_in.dim, **options),
        torch.randn(plan.weight_shape, **options),
        torch.randint(plan.rows, (n,), generator=generator),
    )


def brute_force(x: Tensor, w: Tensor, index: Tensor, plan: SymmetricProductPlan) -> Tensor:
    """The sum over all paths of the full basis, each followed from left to right."""
    assert plan.basis == "full"
    parts = [p.unflatten(1, (plan.mul, -1)) for p in x.split([m.dim for m in plan.irreps_in], dim=1)]
    outs, first = [], 0
    for ir in plan.copies:
        total = torch.zeros(len(x), plan.mul, ir.dim, dtype=x.dtype)
        for order in range(1, plan.correlation + 1):
            for path in paths_to(plan.terms, order, ir):
                total += w[index, first].unsqueeze(-1) * follow(path, parts)
                first += 1
        outs.append(total.flatten(1))
    assert first == plan.num_couplings
    return torch.cat(outs, dim=1)


def paths_to(terms: tuple[Irrep, ...], order: int, ir: Irrep) -> list[tuple]:
    """The paths (term, (term, irrep), ...) in the order of mace-torch: sorted by irrep after each factor."""
    found: list[tuple[Irrep, tuple]] = sorted(((out, (t,)) for t, out in enumerate(terms)), key=lambda each: each[0])
    for _ in range(order - 1):
        wider = [
            (out, (*path, (t, out)))
            for left, path in found
            for t, right in enumerate(terms)
            for out in left * right
            if order < 4 or out.p == (-1) ** out.l
        ]
        found = sorted(wider, key=lambda each: each[0])
    return [path for out, path in found if out == ir]


def follow(path: tuple, parts: list[Tensor]) -> Tensor:
    value = parts[path[0]]
    for t, ir in path[1:]:
        degrees = (ir.l, (value.shape[-1] - 1) // 2, (parts[t].shape[-1] - 1) // 2)
        c = torch.tensor(wigner.wigner_3j(*degrees)) * sign_before(*degrees)
        value = torch.einsum("kij,zui,zuj->zuk", c * ir.dim**0.5, value, parts[t])
    return value


@pytest.mark.parametrize("correlation", [1, 2, 3, 4])
def test_is_the_sum_over_all_couplings(correlation: int, generator: torch.Generator) -> None:
    """In the full basis, and with the weights of this in the reduced one."""
    plan = plan_symmetric_product("2x0e + 2x1o + 2x2e", "2x0e + 4x1o + 2x2e", correlation, 3, "full")
    x, w, index = arguments(plan, generator)
    expected = brute_force(x, w, index, plan)
    torch.testing.assert_close(kernels.symmetric_product(x, w, index, plan), expected, **CLOSE)
    reduced = torch.tensor(plan.reduce_weights(w.numpy()))
    torch.testing.assert_close(kernels.symmetric_product(x, reduced, index, plan.reduced()), expected, **CLOSE)


# Outputs of mace-torch 0.3.16, mace.modules.symmetric_contraction.SymmetricContraction(irreps_in, irreps_out,
# correlation, num_elements=2) with its weights of each irrep in ascending degree, as here, in float64: two atoms, the
# first of element 1, the second of element 0.
MACE = {
    ("2x0e + 2x1o + 2x2e", "2x0e + 2x1o + 2x2e", 3): (
        *(-2.50734128993, -0.629367719959, -0.164337539703, 0.348871494648, -0.463059421543, -1.08460880533),
        *(-0.0497946615919, 1.67482252915, 0.6936386729, 1.39231730407, 0.250331805263, -0.147177345389),
        *(-1.1230810482, 0.421440138813, 1.13637111592, 0.754027742744, 0.724538608056, -0.0823310307442),
        *(0.0295887726399, -1.33061724649, -0.587931262598, 0.00248196657089, 2.16866309899, 1.94399306827),
        *(-0.492204726237, -3.22155864381, 0.291693113944, 1.63454005136, 1.88359860678, -0.998242623398),
        *(-1.89957194705, 1.02787139101, -0.826053805367, -2.07732730989, -1.35033479121, 1.13378922958),
    ),
    ("2x0e + 2x1o + 2x2e + 2x3o", "2x0e + 2x1o", 3): (
        *(0.231194694024, -0.197089119009, -4.53680967961, -4.05485222383, -0.722502600724, -2.14257843043),
        *(0.277019390662, 1.2616153877, -0.800907022933, 2.12548919514, -2.29906968548, 2.86018288449),
        *(2.57240894996, 3.80498263984, 0.838715719991, -2.97970901093),
    ),
    ("2x0e + 2x1o + 2x2e", "2x1o", 4): (
        *(-4.08786909199, -3.63055367718, 0.458540878756, -0.530954411101, 0.155662641378, 0.660309182692),
        *(1.94951448174, 0.867156910617, -5.22256529159, -1.69307689544, 1.06967617917, 3.47869302981),
    ),
    ("2x0e + 2x1o", "2x0e + 2x1o", 4): (
        *(1.31258397234, 1.75293843135, -0.220291140282, -0.238047622113, -0.0369442179866, -1.2812140578),
        *(-0.373325687668, 0.877796598028, 0.619144324815, 0.503352740705, -0.073120302759, 0.0965231838901),
        *(0.17742370041, -0.624255855211, -1.4717776213, -0.966153829812),
    ),
    ("2x0e + 2x1o + 2x1e", "2x1o + 2x1e", 3): (
        *(-2.41176517078, -3.02588639038, -0.392974887447, -1.07638822767, -0.810389039536, 0.795275637983),
        *(-2.5330098398, -3.12917161608, -0.848387439446, -2.37382217709, -1.47857570108, 0.776066455702),
        *(-0.0825614293782, 0.264643404778, -0.217113589795, 0.12649633178, 0.0216468688803, 0.317460288082),
        *(1.93641273017, -0.0854756478721, -2.02877810945, 0.260527119955, 0.607305090147, 0.395729561189),
    ),
}


@pytest.mark.parametrize("case", MACE, ids=str)
def test_equals_mace(case: tuple[str, str, int]) -> None:
    plan = plan_symmetric_product(*case, rows=2, basis="full")
    w = torch.cos(1.0 + torch.arange(4.0 * plan.num_couplings, dtype=torch.float64)).view(-1, 2, 2).transpose(0, 1)
    channels = torch.sin(torch.arange(4.0 * plan.dim, dtype=torch.float64)).view(2, 2, plan.dim)
    x = torch.cat([part.flatten(1) for part in channels.split([ir.dim for ir in plan.terms], dim=2)], dim=1)
    out = kernels.symmetric_product(x, w, torch.tensor([1, 0]), plan)
    torch.testing.assert_close(out.flatten(), torch.tensor(MACE[case], dtype=out.dtype), atol=1e-10, rtol=0)


# Outputs of the reduced basis when it was introduced. Weights of saved models are numbers in this basis.
SAVED = {
    ("2x0e + 2x1o + 2x2e", "2x0e + 2x1o", 3): (
        *(0.187844642984, -0.140985960452, 0.537780253089, -0.124881430224),
        *(-0.565636526397, -0.126949002812, -0.0226199226129, 0.122324621596),
    ),
    ("1x2e + 1x3o", "0e + 2e + 3o", 4): (
        *(0.0435759320907, 0.156884106299, 0.439330357449, -0.133181817135, 0.124503313917, 0.345710272924),
        *(0.4316851889, 0.166754428904, -0.0972876273444, -0.140085240811, -0.208128012307, 0.179476106132),
        0.468101292387,
    ),
}


@pytest.mark.parametrize("case", SAVED, ids=str)
def test_saved_weights_keep_their_meaning(case: tuple[str, str, int]) -> None:
    plan = plan_symmetric_product(*case)
    w = torch.cos(1.0 + torch.arange(plan.num_couplings * plan.mul, dtype=torch.float64)).view(plan.weight_shape)
    x = torch.sin(torch.arange(plan.irreps_in.dim, dtype=torch.float64))[None]
    out = kernels.symmetric_product(x, w, None, plan)
    torch.testing.assert_close(out[0], torch.tensor(SAVED[case], dtype=out.dtype), atol=1e-10, rtol=0)


@pytest.mark.parametrize("inversion", [False, True])
@pytest.mark.parametrize("plan", PLANS, ids=name)
def test_equivariant(plan: SymmetricProductPlan, inversion: bool, generator: torch.Generator) -> None:
    x, w, index = arguments(plan, generator)
    R = o3.rand_matrix(dtype=torch.float64, generator=generator) * (-1 if inversion else 1)
    D_in, D_out = (irreps.D_from_matrix(R) for irreps in (plan.irreps_in, plan.irreps_out))
    out = kernels.symmetric_product(x, w, index, plan)
    assert out.abs().max() > 0.1
    torch.testing.assert_close(kernels.symmetric_product(x @ D_in.T, w, index, plan), out @ D_out.T, **CLOSE)


@pytest.mark.parametrize("plan", PLANS, ids=name)
def test_derivatives(plan: SymmetricProductPlan, generator: torch.Generator) -> None:
    x, w, index = arguments(plan, generator, n=3)

    def call(x: Tensor, w: Tensor) -> Tensor:
        return kernels.symmetric_product(x, w, index if plan.rows > 1 else None, plan)

    inputs = (x.requires_grad_(), w.requires_grad_())
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, inputs, fast_mode=True)


@pytest.mark.parametrize("plan", PLANS[:4], ids=name)
def test_each_row_has_the_weights_of_its_index(plan: SymmetricProductPlan, generator: torch.Generator) -> None:
    x, w, index = arguments(plan, generator, n=6)
    one = plan_symmetric_product(plan.irreps_in, plan.irreps_out, plan.correlation)
    rows = [kernels.symmetric_product(x[i : i + 1], w[s : s + 1], None, one) for i, s in enumerate(index.tolist())]
    torch.testing.assert_close(kernels.symmetric_product(x, w, index, plan), torch.cat(rows), **CLOSE)


def test_no_atoms_float32_and_meta(generator: torch.Generator) -> None:
    plan = PLANS[0]
    x, w, index = arguments(plan, generator)
    assert kernels.symmetric_product(x[:0], w, index[:0], plan).shape == (0, plan.irreps_out.dim)
    exact = kernels.symmetric_product(x, w, index, plan)
    torch.testing.assert_close(
        kernels.symmetric_product(x.float(), w.float(), index, plan), exact.float(), atol=1e-4, rtol=1e-4
    )
    meta = kernels.symmetric_product(x.to("meta"), w.to("meta"), index.to("meta"), plan)
    assert meta.shape == exact.shape
    assert meta.is_meta


def test_wrong_arguments(generator: torch.Generator) -> None:
    plan = PLANS[0]
    x, w, index = arguments(plan, generator)
    for wrong, message in (
        ((x[:, 1:], w, index), "x must have a last dimension of 18"),
        ((x, w[1:], index), r"w must have shape \(3, \d+, 2\), got \(2, "),
        ((x, w, None), "w has 3 rows, so that index is required"),
        ((x, w, index[1:]), r"x must have shape \(n, 18\) and index \(n,\), got \(5, 18\) and \(4,\)"),
        ((x[None], w, index), r"x must have shape \(n, 18\) and index \(n,\), got \(1, 5, 18\) and \(5,\)"),
        ((x.float(), w, index), "x and w must be of one type, got torch.float32 and torch.float64"),
    ):
        with pytest.raises(ValueError, match=message):
            kernels.symmetric_product(*wrong, plan)
    with pytest.raises(IndexError):
        kernels.symmetric_product(x, w, index + 3, plan)

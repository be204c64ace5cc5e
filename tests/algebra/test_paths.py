"""Plans of products and linear maps: paths, weights and coefficients of e3nn's modules, and their errors."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import e3nn.o3
import pytest
import torch

from e3frame.algebra import Irreps, paths
from e3frame.algebra.plan import ProductPlan

NORMALIZATIONS = [(a, b) for a in ("component", "norm", "none") for b in ("element", "path", "none")]


def random_irreps(rng: random.Random, terms: int = 3, empty: bool = False) -> Irreps:
    least = 0 if empty else 1
    count = rng.randint(1, terms)
    return Irreps([(rng.randint(least, 3), (rng.randint(0, 2), rng.choice([-1, 1]))) for _ in range(count)])


def assert_same(plan: ProductPlan, oracle: e3nn.o3.TensorProduct) -> None:
    for name in ("irreps_in1", "irreps_in2", "irreps_out"):
        assert repr(getattr(plan, name)) == repr(getattr(oracle, name))
    assert plan.weight_numel == oracle.weight_numel
    assert len(plan.instructions) == len(oracle.instructions)
    for ours, theirs in zip(plan.instructions, oracle.instructions, strict=True):
        assert ours[:5] == tuple(theirs)[:5]
        assert ours.path_shape == tuple(theirs.path_shape)
        assert ours.path_weight == pytest.approx(theirs.path_weight, abs=1e-14)
    mask = [float(m) for m, mul_ir in zip(plan.output_mask, plan.irreps_out, strict=True) for _ in range(mul_ir.dim)]
    assert mask == oracle.output_mask.tolist()


@pytest.mark.parametrize(("irrep", "path"), NORMALIZATIONS)
def test_plans_are_those_of_e3nn(irrep: str, path: str) -> None:
    rng = random.Random(f"{irrep}{path}")
    options = {"irrep_normalization": irrep, "path_normalization": path}
    lazy = {"compile_left_right": False, **options}
    for _ in range(15):
        a, b, c = random_irreps(rng, empty=True), random_irreps(rng), random_irreps(rng)
        A, B, C = map(repr, (a, b, c))
        assert_same(paths.plan_full(a, b, **options), e3nn.o3.FullTensorProduct(A, B, **lazy))
        few = ["0e", "1o"]
        assert_same(paths.plan_full(a, b, few, **options), e3nn.o3.FullTensorProduct(A, B, few, **lazy))
        fully = paths.plan_fully_connected(a, b, c, **options)
        assert_same(fully, e3nn.o3.FullyConnectedTensorProduct(A, B, C, **lazy))
        assert_same(paths.plan_square(a, **options), e3nn.o3.TensorSquare(A, **lazy))
        assert_same(paths.plan_square(b, None, few, **options), e3nn.o3.TensorSquare(B, None, few, **lazy))
        assert_same(paths.plan_square(b, c, **options), e3nn.o3.TensorSquare(B, C, **lazy))
        partner = Irreps([(1, random_irreps(rng)[0].ir) for _ in range(b.num_irreps)])
        elementwise = e3nn.o3.ElementwiseTensorProduct(B, repr(partner), **lazy)
        assert_same(paths.plan_elementwise(b, partner, **options), elementwise)
        elementwise = e3nn.o3.ElementwiseTensorProduct(repr(partner), B, few, **lazy)
        assert_same(paths.plan_elementwise(partner, b, few, **options), elementwise)


def test_variances() -> None:
    irreps = ("2x0e + 3x1o", "4x0e + 1o", "5x1o + 0e")
    instructions = [(0, 1, 0, "uvw", True, 0.3), (1, 0, 0, "uvw", True), (1, 1, 1, "uvw", True, 2.0)]
    variances = {"in1_var": [0.5, 2.0], "in2_var": [3.0, 0.1], "out_var": [1.5, 7.0]}
    oracle = e3nn.o3.TensorProduct(*irreps, instructions, **variances)
    assert_same(paths.plan_explicit(*irreps, instructions, **variances), oracle)


@pytest.mark.parametrize("normalization", ["element", "path"])
def test_linear_plans_are_those_of_e3nn(normalization: str) -> None:
    rng = random.Random(normalization)
    for _ in range(30):
        a, b = random_irreps(rng), random_irreps(rng)
        plan = paths.plan_linear(a, b, path_normalization=normalization)
        oracle = e3nn.o3.Linear(repr(a), repr(b), path_normalization=normalization)
        assert plan.weight_numel == oracle.weight_numel
        for ours, theirs in zip(plan.instructions, oracle.instructions, strict=True):
            assert (ours.i_in, ours.i_out, ours.path_shape) == (theirs.i_in, theirs.i_out, theirs.path_shape)
            assert ours.path_weight == pytest.approx(theirs.path_weight, abs=1e-14)


def test_linear_plan_with_biases_and_channels() -> None:
    plan = paths.plan_linear("2x0e + 3x1o", "4x0e + 1o + 0o", biases=True, f_in=5, f_out=6)
    oracle = e3nn.o3.Linear("2x0e + 3x1o", "4x0e + 1o", biases=True, f_in=5, f_out=6)
    assert (plan.weight_shape, plan.bias_shape) == ((5, 6, oracle.weight_numel), (6, oracle.bias_numel))
    assert plan.output_mask == (True, True, False)
    for ours, theirs in zip(plan.instructions, oracle.instructions, strict=True):
        assert ours.path_weight == pytest.approx(theirs.path_weight, abs=1e-14)
    assert paths.plan_linear("0e", "0e", [True]).bias_shape == (1,)


def test_convolution_has_one_term_for_each_path() -> None:
    plan = paths.plan_convolution("2x0e + 3x1o", "0e + 1o + 2e", "0e + 1o + 1e")
    assert repr(plan.irreps_out) == "2x0e+3x0e+2x1o+3x1o+3x1o+3x1e"
    assert [ins.i_out for ins in plan.instructions] == list(range(6))
    assert [(ins.i_in1, ins.i_in2) for ins in plan.instructions] == [(0, 0), (1, 1), (0, 1), (1, 0), (1, 2), (1, 1)]
    assert plan.weight_slices == (
        slice(0, 2),
        slice(2, 5),
        slice(5, 7),
        slice(7, 10),
        slice(10, 13),
        slice(13, 16),
    )
    assert all(ins.connection_mode == "uvu" and ins.has_weight for ins in plan.instructions)
    everything = paths.plan_convolution("0e + 1o", "0e + 1o")
    assert sorted({ir for _, ir in everything.irreps_out}) == list(paths.reachable("0e + 1o", "0e + 1o"))


def test_reachable() -> None:
    assert list(map(repr, paths.reachable("32x0e + 8x1o", "0e + 1o"))) == ["0e", "1o", "1e", "2e"]
    assert paths.reachable("0x1o", "1o") == ()
    assert paths.reachable("", "1o") == ()


def test_plans_are_values() -> None:
    plan = paths.plan_square("2x0e + 1o", "3x1o")
    again = copy.deepcopy(plan)
    assert (again, hash(again)) == (paths.plan_square("2x0e + 1o", "3x1o"), hash(plan))
    with pytest.raises(AttributeError):
        plan.irreps_out = Irreps()  # type: ignore[misc]


def explicit(*instructions: tuple, irreps: tuple[str, str, str] = ("8x1o", "2x1o", "8x2e + 3x0e"), **options: object):
    return lambda: paths.plan_explicit(*irreps, instructions, **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (explicit((0, 0, 0)), r"instruction 0 must be \(i_in1, i_in2, i_out, .* got \(0, 0, 0\)"),
        (explicit((1, 0, 0, "uvw", True)), r"instruction 0: i_in1 = 1 is outside 8x1o, which has 1 terms"),
        (explicit((0, 0, -1, "uvw", True)), r"instruction 0: i_out = -1 is outside 8x2e\+3x0e, which has 2 terms"),
        (explicit((0, 0, 0, "xyz", True)), r"instruction 0: connection_mode must be one of uvw, uvu, .* got 'xyz'"),
        (explicit((0, 0, 0, "uvw", True, -1.0)), r"instruction 0: path_weight must not be negative, got -1\.0"),
        (explicit((0, 0, 1, "uvu", True)), r"instruction 0 \(8x1o, 2x1o, 3x0e, 'uvu'\): the mode gives 8x0e, not 3x0e"),
        (explicit((0, 0, 0, "uuu", True)), r"the mode needs inputs of equal multiplicity, got 8 and 2"),
        (explicit((0, 0, 0, "uvw", False)), r"the mode needs weights"),
        (
            explicit((0, 0, 0, "uvw", True), irreps=("8x1o", "2x1o", "8x3e")),
            r"instruction 0 \(8x1o, 2x1o, 8x3e, 'uvw'\): 1o ⊗ 1o gives 0e, 1e, 2e, not 3e",
        ),
        (
            explicit((0, 0, 0, "uuw", False), irreps=("2x1o", "2x1o", "2x0e")),
            r"the mode without weights gives 1x0e, not 2x0e",
        ),
        (explicit(in1_var=[1, 2]), r"in1_var needs one number for each of 1 terms of its irreps, got 2"),
        (explicit(irrep_normalization="x"), r"irrep_normalization must be one of component, norm, none; got 'x'"),
        (explicit(path_normalization="x"), r"path_normalization must be one of element, path, none; got 'x'"),
        (lambda: paths.plan_elementwise("2x0e", "3x0e"), r"equally many irreps in both inputs: 2x0e has 2, 3x0e has 3"),
        (lambda: paths.plan_square("0e", "0e", "0e"), r"irreps_out and filter_ir_out exclude each other"),
        (lambda: paths.plan_convolution("0e", "2x1o"), r"harmonics of multiplicity 1, got 2x1o in 2x1o"),
        (lambda: paths.plan_convolution("4x0e", "0e + 1o", "2e"), r"2e is out of reach: .* gives 0e, 1o"),
        (lambda: paths.plan_convolution("", "0e"), r"an output is out of reach: .* gives nothing"),
        (lambda: paths.plan_linear("0e", "0e", instructions=[(0, 1)]), r"instruction 0: i_out = 1 is outside 1x0e"),
        (
            lambda: paths.plan_linear("0e", "1o", instructions=[(0, 0)]),
            r"a linear map needs equal irreps, got 1x0e -> 1x1o",
        ),
        (lambda: paths.plan_linear("1o", "1o", biases=[True]), r"a bias on 1x1o would break equivariance"),
        (lambda: paths.plan_linear("1o", "1o", biases=[]), r"one boolean for each of 1 output terms, got 0"),
        (lambda: paths.plan_linear("0e", "0e", f_in=2), r"f_in and f_out must be given together, got 2 and None"),
        (lambda: paths.plan_linear("0e", "0e", path_normalization="none"), r"must be one of element, path; got 'none'"),
    ],
)
def test_errors(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_elementwise_aligns_copies() -> None:
    plan = paths.plan_elementwise("5x1o + 5x1e", "10x1e", ["0e", "0o"])
    assert repr(plan.irreps_out) == "5x0o+5x0e"
    assert plan.num_paths == 10
    assert torch.tensor([ins.path_shape[0] for ins in plan.instructions]).sum() == 10

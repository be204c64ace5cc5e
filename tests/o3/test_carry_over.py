"""Code and weights of e3nn keep working: state_dicts, legacy options, error types, products and names."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import ModuleType

import e3nn.nn
import e3nn.o3
import e3nn.o3.experimental
import pytest
import torch

import e3frame.nn
from e3frame import o3
from e3frame.o3 import experimental
from e3frame.o3.irrep import l1o, l2e

A, B = "2x0e + 2x1o + 1x2e", "1x0o + 1x1e + 1x1o + 1x0e + 1x2o"
PRODUCTS: dict[str, Callable[[ModuleType], torch.nn.Module]] = {
    "explicit": lambda o3: o3.TensorProduct(A, A, A, [(0, 1, 1, "uvw", True), (1, 1, 2, "uvw", True)]),
    "fully connected": lambda o3: o3.FullyConnectedTensorProduct(A, B, A, "norm", "path", compile_right=True),
    "external": lambda o3: o3.FullyConnectedTensorProduct(A, B, A, None, None, internal_weights=False),
    "full": lambda o3: o3.FullTensorProduct(A, B, None, "norm", _specialized_code=False),
    "elementwise": lambda o3: o3.ElementwiseTensorProduct(A, B, ["0e", "0o", "1o"], None, path_normalization=None),
    "square": lambda o3: o3.TensorSquare(A, in1_var=[1.0, 2.0, 3.0]),
    "weighted square": lambda o3: o3.TensorSquare(A, A, _optimize_einsums=False, shared_weights=False),
    "full v2": lambda o3: o3.FullTensorProductv2(o3.Irreps(A), o3.Irreps(B)),
    "full v2 filtered": lambda o3: o3.FullTensorProductv2(
        o3.Irreps(A), o3.Irreps(B), filter_ir_out=[o3.Irrep("1o")], irrep_normalization="norm", regroup_output=False
    ),
    "elementwise v2": lambda o3: o3.experimental.ElementwiseTensorProductv2(
        o3.Irreps("2x0e + 1o"), o3.Irreps("1o + 2x2e"), irrep_normalization="norm"
    ),
}
MODULES: dict[str, Callable[[ModuleType, ModuleType], torch.nn.Module]] = {
    **{name: lambda o3, nn, make=make: make(o3) for name, make in PRODUCTS.items()},
    "linear": lambda o3, nn: o3.Linear(A, A, _optimize_einsums=True),
    "linear with biases": lambda o3, nn: o3.Linear(A, A, biases=True, f_in=2, f_out=3),
    "norm": lambda o3, nn: o3.Norm(A),
    "harmonics": lambda o3, nn: o3.SphericalHarmonics([0, 1], True),
    "harmonics of angles": lambda o3, nn: o3.SphericalHarmonicsAlphaBeta([0, 1]),
    "reduced": lambda o3, nn: o3.ReducedTensorProducts("ij=ji", i="1o"),
    "gate": lambda o3, nn: nn.Gate("2x0e", [torch.tanh], "2x0e", [torch.tanh], "2x1o"),
    "norm activation": lambda o3, nn: nn.NormActivation(o3.Irreps(A), torch.sigmoid, bias=True),
    "batch norm": lambda o3, nn: nn.BatchNorm(A),
    "mlp": lambda o3, nn: nn.FullyConnectedNet([2, 3, 4], torch.tanh),
    "s2 activation": lambda o3, nn: nn.S2Activation("0e + 1o + 2e", torch.tanh, 10),
    "so3 activation": lambda o3, nn: nn.SO3Activation(1, 1, torch.tanh, 3),
}


PAIR = ((o3, e3frame.nn), (e3nn.o3, e3nn.nn))


@pytest.mark.parametrize("name", MODULES)
def test_loads_the_state_of_e3nn(name: str) -> None:
    ours, theirs = (MODULES[name](*libraries) for libraries in PAIR)
    torch.nn.Sequential(ours).load_state_dict(torch.nn.Sequential(theirs).state_dict())
    mine, their = dict(ours.named_parameters()), dict(theirs.named_parameters())
    assert list(mine) == list(their)
    assert all(torch.equal(mine[key], their[key]) for key in mine)
    copy.deepcopy(ours).load_state_dict(ours.state_dict())


@pytest.mark.parametrize("name", MODULES)
def test_weights_travel_back_to_e3nn(name: str) -> None:
    ours, theirs = (torch.nn.Sequential(MODULES[name](*libraries)) for libraries in PAIR)
    theirs.load_state_dict(o3.state_dict_for_e3nn(ours, theirs), strict=True)
    mine, their = dict(ours.named_parameters()), dict(theirs.named_parameters())
    assert list(mine) == list(their)
    assert all(torch.equal(mine[key], their[key]) for key in mine)


def test_what_cannot_travel_back_is_named() -> None:
    linears = [library.Linear(A, A, biases=biases) for library in (o3, e3nn.o3) for biases in (False, True)]
    ours, ours_biased, theirs, theirs_biased = linears
    with pytest.raises(RuntimeError, match=r"size mismatch for bias"):
        theirs.load_state_dict(o3.state_dict_for_e3nn(ours_biased, theirs))
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"bias\""):
        theirs_biased.load_state_dict(o3.state_dict_for_e3nn(ours, theirs_biased))


@pytest.mark.parametrize(
    "make",
    [
        lambda o3: o3.Linear(A, A),
        lambda o3: o3.Linear(A, A, internal_weights=False, biases=True),
        lambda o3: o3.Linear("0e", "1o"),
        lambda o3: o3.FullTensorProduct(A, B),
        lambda o3: o3.FullyConnectedTensorProduct(A, B, A, internal_weights=False),
        lambda o3: o3.FullyConnectedTensorProduct(A, B, "5e", internal_weights=True),
    ],
)
def test_what_is_not_learned_is_an_empty_tensor(make: Callable[[ModuleType], torch.nn.Module]) -> None:
    ours, theirs = make(o3), make(e3nn.o3)
    names = [name for name in ("weight", "bias") if hasattr(theirs, name)]
    assert names
    for name in names:
        mine, their = getattr(ours, name), getattr(theirs, name)
        assert (mine.shape, mine.requires_grad, type(mine)) == (their.shape, their.requires_grad, type(their))
    assert ours.state_dict().keys() == dict(ours.named_parameters()).keys()


def test_still_refuses_what_it_does_not_know() -> None:
    linear = o3.Linear(A, A)
    state = linear.state_dict()
    with pytest.raises(RuntimeError, match=r"Unexpected key.*bias"):
        linear.load_state_dict({**state, "bias": torch.ones(2)})
    with pytest.raises(RuntimeError, match=r"Missing key.*weight"):
        linear.load_state_dict({})


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_those_of_e3nn(name: str, generator: torch.Generator) -> None:
    ours, theirs = PRODUCTS[name](o3), PRODUCTS[name](e3nn.o3)
    ours.load_state_dict(theirs.state_dict())
    assert (repr(ours.irreps_in1), repr(ours.irreps_out)) == (repr(theirs.irreps_in1), repr(theirs.irreps_out))
    if "v2" not in name:
        assert repr(ours) == repr(theirs)
        for mine, their in zip(ours.instructions, theirs.instructions, strict=True):
            assert mine.path_weight == pytest.approx(their.path_weight, rel=1e-14)
            assert mine._replace(path_weight=0.0) == their._replace(path_weight=0.0)
    arguments = [torch.randn(3, ours.irreps_in1.dim, generator=generator)]
    if "square" not in name:
        arguments.append(torch.randn(3, ours.irreps_in2.dim, generator=generator))
    if ours.weight_numel and not ours.internal_weights:
        lead = () if ours.shared_weights else (3,)
        arguments.append(torch.randn(*lead, ours.weight_numel, generator=generator))
    torch.testing.assert_close(ours(*arguments), theirs(*arguments), atol=1e-12, rtol=0)


def test_mixed_dtypes_are_promoted() -> None:
    for product in (experimental.FullTensorProductv2("1o", "1o"), experimental.ElementwiseTensorProductv2("1o", "1o")):
        assert product(torch.ones(3).float(), torch.ones(2, 3)).dtype == torch.float64
        with pytest.raises(ValueError, match="irrep_normalization must be one of component, norm; got 'none'"):
            type(product)("1o", "1o", irrep_normalization="none")


def test_the_deprecated_name_warns_and_works() -> None:
    with pytest.warns(DeprecationWarning, match="use irrep_normalization="):
        old = o3.FullTensorProduct("1o", "1o", normalization="norm")
    assert old.instructions == o3.FullTensorProduct("1o", "1o", irrep_normalization="norm").instructions
    with pytest.raises(TypeError, match="unexpected keyword argument 'normalisation'"):
        o3.FullTensorProduct("1o", "1o", normalisation="norm")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda o3: o3.TensorProduct("1o", "1o", "1o", [(0, 0, 0, "uvw", True)]),
        lambda o3: o3.TensorProduct("1o", "1o", "1e", [(0, 1, 0, "uvw", True)]),
        lambda o3: o3.TensorProduct("1o", "1o", "1e", [], in1_var=[1.0, 1.0]),
        lambda o3: o3.TensorProduct("1o", "1o", "1e", [], irrep_normalization="x"),
        lambda o3: o3.FullyConnectedTensorProduct("1o", "1o", "1e", internal_weights=True, shared_weights=False),
        lambda o3: o3.FullyConnectedTensorProduct("1o", "1o", "1e")(torch.ones(4), torch.ones(3)),
        lambda o3: o3.FullyConnectedTensorProduct("1o", "1o", "1e")(torch.ones(3), torch.ones(3), torch.ones(2)),
        lambda o3: o3.FullyConnectedTensorProduct("1o", "1o", "1e", internal_weights=False)(
            torch.ones(3), torch.ones(3)
        ),
        lambda o3: o3.FullTensorProduct("1o", "1o", ["x"]),
        lambda o3: o3.ElementwiseTensorProduct("2x1o", "1o"),
        lambda o3: o3.TensorSquare("1o", "1e", ["1e"]),
        lambda o3: o3.Linear("1o", "1o", instructions=[(0, 1)]),
        lambda o3: o3.Linear("1o", "1e", instructions=[(0, 0)]),
        lambda o3: o3.Linear("1o", "1o", biases=[True]),
        lambda o3: o3.Linear("1o", "1o", internal_weights=False)(torch.ones(3)),
        lambda o3: o3.wigner_3j(1, 1, 3),
        lambda o3: o3.wigner_3j(-1, 1, 2),
        lambda o3: o3.TensorProduct("1o", "1o", "1e", [(0, 0, 0, "xyz", True)]),
        lambda o3: list(o3.Linear("1o", "1o", internal_weights=False).weight_views()),
        lambda o3: o3.matrix_to_angles(-torch.eye(3)),
        lambda o3: o3.Irreps("1o").D_from_matrix(2 * torch.eye(3)),
        lambda o3: o3.SphericalHarmonics("1o", True, normalization="x"),
        lambda o3: o3.SphericalHarmonics("1o + 1e", True),
        lambda o3: o3.ToS2Grid(3, 7),
        lambda o3: o3.ToS2Grid(),
        lambda o3: o3.irfft(torch.ones(5), 6),
        lambda o3: o3.SO3Grid(1, 2, normalization="norm"),
        lambda o3: o3.ReducedTensorProducts("ij=jk", i="1o"),
        lambda o3: o3.ReducedTensorProducts("ij", i="1o"),
        lambda o3: o3.ReducedTensorProducts("ij", ij="1o"),
        lambda o3: o3.Irreps("1o").randn(2),
        lambda o3: o3.Irreps("1o").index("1o"),
        lambda o3: o3.Irrep("1o").count(1),
        lambda o3: 1 in o3.Irrep("1o"),
        lambda o3: o3.Irreps("1o") * o3.Irreps("1o"),
        lambda o3: o3.Irrep("5"),
        lambda o3: o3.Irreps(3),
        lambda o3: o3.Irreps([0, 1]),
    ],
)
def test_errors_are_of_the_types_of_e3nn(wrong: Callable[[ModuleType], object]) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        wrong(e3nn.o3)
    with pytest.raises(theirs.type):
        wrong(o3)


def test_irreps_by_name() -> None:
    assert l1o + l2e == o3.Irreps("1o + 2e")
    assert o3.irrep.l0e == o3.Irrep("0e")
    with pytest.raises(AttributeError, match="no attribute 'lx'"):
        o3.irrep.lx  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'x1o'"):
        o3.irrep.x1o  # noqa: B018


def test_D_from_angles_broadcasts() -> None:
    angles = (torch.tensor(0.3), torch.randn(4), torch.randn(2, 1))
    k = torch.ones(3, 1, 1)
    for name, arguments in (("1o", angles), ("1o + 0e", (*angles, k))):
        ours, theirs = (library.Irreps(name).D_from_angles(*arguments) for library in (o3, e3nn.o3))
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def test_the_direction_of_zero() -> None:
    for library in (o3, e3nn.o3):
        alpha, beta = library.xyz_to_angles(torch.zeros(2, 3))
        torch.testing.assert_close((alpha, beta), (torch.zeros(2), torch.full((2,), torch.pi / 2)), atol=1e-15, rtol=0)


@pytest.mark.parametrize("wrong", [{"reduce": "median"}, {"reduce": 3}, {"normalization": "integral"}])
def test_options_of_batch_norm_are_asserted(wrong: dict[str, object]) -> None:
    for library in (e3frame.nn, e3nn.nn):
        with pytest.raises(AssertionError):
            library.BatchNorm(A, **wrong)


@pytest.mark.parametrize("name", ["2x0e + 3x1o", "5x2e"])
def test_a_seed_drops_the_same_irreps(name: str) -> None:
    ours, theirs = (library.Dropout(name, 0.4) for library in (e3frame.nn, e3nn.nn))
    x = torch.randn(6, 4, ours.irreps.dim)
    results = []
    for dropout in (ours, theirs):
        torch.manual_seed(3)
        results.append(dropout(x))
    torch.testing.assert_close(*results, atol=1e-15, rtol=1e-15)


@pytest.mark.parametrize(
    "make",
    [
        lambda nn: nn.Gate("2x0e", [torch.tanh], "2x0e", [torch.tanh], "2x1o"),
        lambda nn: nn.Activation("2x0e + 1x1o + 3x0o", [torch.tanh, None, torch.tanh]),
        lambda nn: nn.FullyConnectedNet([2, 3, 4], torch.tanh),
        lambda nn: nn.BatchNorm(A),
        lambda nn: nn.Dropout(A, 0.1),
        lambda nn: nn.Identity("2x0e", "2x0e"),
        lambda nn: nn.S2Activation("0e + 1o", torch.tanh, 10),
        lambda nn: nn.SO3Activation(1, 1, torch.tanh, 3),
    ],
)
def test_blocks_look_as_in_e3nn(make: Callable[[ModuleType], torch.nn.Module]) -> None:
    assert repr(make(e3frame.nn)) == repr(make(e3nn.nn))

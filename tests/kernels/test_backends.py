"""Backends: the order in which they are asked, the choice of one, and how another is added."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import NotImplementedType

import pytest
import torch
from support.native import needs_native
from torch import Tensor

from e3frame import kernels, o3
from e3frame.algebra.errors import EnvironmentVariableError
from e3frame.algebra.linear import LinearPlan
from e3frame.kernels import backends

X = torch.ones(2, 3)


@pytest.fixture
def asked() -> Iterator[list[LinearPlan]]:
    """A backend of our own, ``tens``, that has linear maps of three scalars without biases, and gives tens."""
    plans: list[LinearPlan] = []

    def linear(x: Tensor, w: Tensor | None, b: Tensor | None, plan: LinearPlan) -> Tensor | NotImplementedType:
        plans.append(plan)
        return NotImplemented if b is not None else x.new_full((x.shape[0], plan.irreps_out.dim), 10.0)

    kernels.register(kernels.Backend("tens", {"linear": linear}, runs=lambda operator, plan: plan.irreps_in.dim == 3))
    yield plans
    backends.unregister("tens")


def test_ours() -> None:
    assert set(backends.BACKENDS) == {"native", "cuequivariance", "reference"}
    assert list(backends.BACKENDS)[-1] == "reference"
    assert set(backends.BACKENDS["reference"].operators) == set(backends.OPERATORS)
    assert all(isinstance(getattr(kernels, name), type(kernels.linear)) for name in backends.OPERATORS)
    assert set(kernels.statuses()) == set(backends.BACKENDS)


def test_another_is_asked_first(asked: list[LinearPlan]) -> None:
    linear = o3.Linear("3x0e", "2x0e")
    for _ in range(2):
        assert (linear(X) == 10).all()
    assert asked == [linear.plan, linear.plan]
    assert kernels.statuses()["tens"] == "available"


def test_what_it_does_not_run_others_do(asked: list[LinearPlan]) -> None:
    other, biased = o3.Linear("2x0e", "2x0e"), o3.Linear("3x0e", "2x0e", biases=True)
    assert not (other(torch.ones(2, 2)) == 10).all()
    assert not asked
    out = biased(X)
    assert len(asked) == 1
    with kernels.use("reference"):
        torch.testing.assert_close(out, biased(X))
    assert len(asked) == 1


@needs_native
def test_a_choice_asks_one_alone(asked: list[LinearPlan], monkeypatch: pytest.MonkeyPatch) -> None:
    plan = o3.Linear("3x0e", "2x0e").plan
    assert backends.find("linear", plan)[0] == "tens"
    for name, expected in (("native", ("native", "reference")), ("reference", ("reference",)), ("auto", "tens")):
        with kernels.use(name):
            found = backends.find("linear", plan)
            assert found == expected if name != "auto" else found[0] == expected
        monkeypatch.setenv("E3FRAME_BACKEND", name)
        assert (backends.find("linear", plan) == expected) == (name != "auto")
        monkeypatch.delenv("E3FRAME_BACKEND")
    with kernels.use("native"), kernels.use("reference"):
        assert backends.chosen() == "reference"


def test_the_backend_of_a_plugin_is_chosen_by_its_name(
    asked: list[LinearPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("E3FRAME_BACKEND", "tens")
    backends.check_choice()
    assert kernels.backend() == "tens, as E3FRAME_BACKEND says; reference for what it does not run"
    assert backends.find("linear", o3.Linear("3x0e", "2x0e").plan) == ("tens", "reference")
    assert backends.find("linear", o3.Linear("2x0e", "2x0e").plan) == ("reference",)
    monkeypatch.setenv("E3FRAME_BACKEND", "hundreds")
    known = (
        r"^E3FRAME_BACKEND must be one of auto, tens, .*reference; got 'hundreds'\n  the backend of a plugin is known"
    )
    for use in (backends.check_choice, kernels.backend, lambda: backends.find("linear", None)):
        with pytest.raises(EnvironmentVariableError, match=known):
            use()


def test_what_is_no_backend() -> None:
    with (
        pytest.raises(ValueError, match=r"^backend 'nativ' is required; known backends are auto, .*native.*reference$"),
        kernels.use("nativ"),
    ):
        pass
    with pytest.raises(ValueError, match=r"^a backend named 'native' is registered already; choose another name$"):
        kernels.register(kernels.Backend("native", {}))
    with pytest.raises(ValueError, match=r"^backend 'mine': unknown operators lineer; known: activation, convolution"):
        kernels.register(kernels.Backend("mine", {"lineer": print}))
    assert "mine" not in backends.BACKENDS


def test_a_choice_that_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = kernels.register(
        kernels.Backend("missing", {"edge_vectors": print}, available=lambda: False, status=lambda: "not built")
    )
    try:
        assert "missing" not in backends.find("edge_vectors", None)
        monkeypatch.setattr(backends, "wanted_backend", lambda: "missing")
        with pytest.raises(
            EnvironmentVariableError, match=r"^E3FRAME_BACKEND=missing is set, but it is not available: not built$"
        ):
            backends.check_choice()
    finally:
        backends.unregister(missing.name)


def test_what_is_known_of_a_plan_goes_with_it() -> None:
    written: list[int] = []
    kept = backends.kept_with_plans(lambda plan: written.append(id(plan)) or len(written))
    plan = o3.Linear("3x0e", "2x0e").plan
    assert kept(plan) == kept(plan) == 1
    inner = next(cell.cell_contents for cell in kept.__closure__ if isinstance(cell.cell_contents, dict))
    assert len(inner) == 1
    del plan
    gc.collect()
    assert not inner
    assert kept(([1, 2][0], True)) == kept((1, True)) == 2  # plain tuples by their value

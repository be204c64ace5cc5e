"""Properties of Cartesian tensors and signals: copies, compilation, export, torch.func, second derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.modules import CHECKS, Call, Case, run_check

from e3frame.io import CartesianTensor, SphericalTensor


def call(make: Callable[..., Any], arguments: tuple[Any, ...], method: str) -> Callable[[], Call]:
    return lambda: Call(make(*arguments), method)


CARTESIAN = (CartesianTensor, ("ijk=jik",))
SPHERICAL = (SphericalTensor, (2, 1, -1))
PLANS = {"compile": ("it makes the grid in each call; what compiles is the module, `o3.ToS2Grid`", "context manager")}
CASES: dict[str, Case] = {
    "from_cartesian": Case(call(*CARTESIAN, "from_cartesian"), ((5, 3, 3, 3),)),
    "to_cartesian": Case(call(*CARTESIAN, "to_cartesian"), ((5, 18),)),
    "from_vectors": Case(call(*CARTESIAN, "from_vectors"), ((5, 3), (5, 3), (5, 3))),
    "norms": Case(call(*SPHERICAL, "norms"), ((5, 9),)),
    "signal_xyz": Case(call(*SPHERICAL, "signal_xyz"), ((5, 9), (4, 3))),
    "signal_on_grid": Case(call(*SPHERICAL, "signal_on_grid"), ((5, 9),), (8,), without=PLANS),
    "sum_of_diracs": Case(call(*SPHERICAL, "sum_of_diracs"), ((5, 4, 3), (5, 4))),
}


@pytest.mark.parametrize("check", [name for name in CHECKS if name != "inductor"])
@pytest.mark.parametrize("name", CASES)
def test_holds(name: str, check: str) -> None:
    run_check(check, CASES[name])


@pytest.mark.parametrize("name", ["from_cartesian"])
def test_compiles_with_inductor(name: str) -> None:
    run_check("inductor", CASES[name])

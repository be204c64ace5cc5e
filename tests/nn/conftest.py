"""What the tests of the building blocks share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from e3nn import o3 as oracle
from torch import Tensor

from e3frame.algebra.irreps import Irreps


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(17)


@pytest.fixture(autouse=True)
def _seeded():
    """Modules draw their weights from the global generator; leave it as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(23)
        yield


@pytest.fixture(autouse=True)
def _float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(params=["rotation", "inversion", "both"])
def representation(request: pytest.FixtureRequest) -> Callable[[Irreps], Tensor]:
    """Matrices of one element of O(3)."""
    rotation = oracle.angles_to_matrix(*map(torch.tensor, (0.7, 1.9, -2.3)))
    motion = {"rotation": rotation, "inversion": -torch.eye(3), "both": -rotation}[request.param]
    return lambda irreps: oracle.Irreps(str(irreps)).D_from_matrix(motion)


@pytest.fixture
def assert_equivariant(representation: Callable[[Irreps], Tensor]) -> Callable[..., None]:
    """f(D x) = D f(x) for a function of features."""

    def check(f: Callable[[Tensor], Tensor], irreps_in: Irreps, irreps_out: Irreps, x: Tensor) -> None:
        before, after = representation(irreps_in), representation(irreps_out)
        torch.testing.assert_close(f(x @ before.T), f(x) @ after.T, rtol=0, atol=1e-10)

    return check

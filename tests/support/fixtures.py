"""What the tests of the algebra share; a conftest imports what it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from e3frame import o3

__all__ = ["compiled", "float64", "generator", "motion"]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True)
def float64():
    """Modules draw float64 weights from a seeded global generator; leave both as they were."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    torch.set_default_dtype(before)


@pytest.fixture
def compiled() -> Iterator[Callable[..., Any]]:
    """Compile without graph breaks and for any shape; the number of compilations is limited, hence the reset."""
    torch.compiler.reset()
    yield lambda module: torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    torch.compiler.reset()


@pytest.fixture(params=["rotation", "inversion", "both"])
def motion(request: pytest.FixtureRequest) -> Tensor:
    """An element of O(3) as a matrix."""
    rotation = o3.angles_to_matrix(*map(torch.tensor, (0.7, 1.9, -2.3)))
    return {"rotation": rotation, "inversion": -torch.eye(3), "both": -rotation}[request.param]

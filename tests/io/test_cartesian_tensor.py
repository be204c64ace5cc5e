"""Cartesian tensors as irreps: e3nn's values, there and back, equivariance."""

from __future__ import annotations

import copy
import pickle

import e3nn.io
import pytest
import torch
from torch import Tensor

from e3frame import o3
from e3frame.io import CartesianTensor

FORMULAS = ["i", "ij", "ij=ji", "ij=-ji", "ijk=-jik", "ijk=jki", "ijkl=jikl=ijlk=klij"]
CLOSE = {"atol": 1e-12, "rtol": 0}


@pytest.mark.parametrize("formula", FORMULAS)
def test_is_that_of_e3nn(formula: str, generator: torch.Generator) -> None:
    ours, theirs = CartesianTensor(formula), e3nn.io.CartesianTensor(formula)
    assert (repr(ours), ours.formula, ours.indices) == (repr(theirs), theirs.formula, theirs.indices)
    data = torch.randn(2, *[3] * len(ours.indices), generator=generator)
    x = ours.from_cartesian(data)
    torch.testing.assert_close(x, theirs.from_cartesian(data), **CLOSE)
    torch.testing.assert_close(ours.to_cartesian(x), theirs.to_cartesian(x), **CLOSE)
    torch.testing.assert_close(ours.from_cartesian(ours.to_cartesian(x)), x, **CLOSE)
    vectors = torch.randn(len(ours.indices), 2, 3, generator=generator)
    torch.testing.assert_close(ours.from_vectors(*vectors), theirs.from_vectors(*vectors), **CLOSE)
    rtp = ours.reduced_tensor_products()
    torch.testing.assert_close(ours.from_cartesian(data, rtp), x, **CLOSE)
    torch.testing.assert_close(ours.to_cartesian(x, rtp=rtp), ours.to_cartesian(x), **CLOSE)
    torch.testing.assert_close(ours.from_vectors(*vectors, rtp=rtp), ours.from_vectors(*vectors), **CLOSE)


def test_turns_as_a_tensor(motion: Tensor, generator: torch.Generator) -> None:
    x = CartesianTensor("ijk=-jik")
    data = torch.randn(3, 3, 3, generator=generator)
    turned = torch.einsum("ai,bj,ck,ijk->abc", motion, motion, motion, data)
    torch.testing.assert_close(x.from_cartesian(turned), x.D_from_matrix(motion) @ x.from_cartesian(data), **CLOSE)


def test_is_irreps_of_its_own_kind(generator: torch.Generator) -> None:
    x = CartesianTensor("ij=ji")
    assert x == o3.Irreps("0e + 2e")
    assert type(o3.Irreps(x)) is o3.Irreps
    for again in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert type(again) is CartesianTensor
        assert (again, again.formula) == (x, "ij=ji")
    single = x.from_cartesian(torch.randn(3, 3, generator=generator).float())
    assert x.to_cartesian(single).dtype == torch.float32
    assert x.reduced_tensor_products(single).change_of_basis.dtype == torch.float32


def test_transforms_of_torch(generator: torch.Generator) -> None:
    x, data = CartesianTensor("ij=ji"), torch.randn(2, 3, 3, generator=generator)

    def there_and_back(data: Tensor) -> Tensor:
        return x.to_cartesian(x.from_cartesian(data))

    expected = (data + data.mT) / 2
    torch.testing.assert_close(there_and_back(data), expected)
    torch.testing.assert_close(torch.compile(there_and_back, fullgraph=True, backend="aot_eager")(data), expected)
    torch.testing.assert_close(torch.func.vmap(there_and_back)(data), expected)


def test_errors() -> None:
    x = CartesianTensor("ij=ji")
    with pytest.raises(ValueError, match=r"ij=ji needs last dimensions \(3, 3\), got shape \(3, 2\)"):
        x.from_cartesian(torch.ones(3, 2))
    with pytest.raises(ValueError, match=r"ij=ji needs a last dimension of 6, got shape \(2, 5\)"):
        x.to_cartesian(torch.ones(2, 5))
    with pytest.raises(RuntimeError, match="is not a permutation"):
        CartesianTensor("ij=jk")

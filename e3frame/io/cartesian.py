"""Irreps of Cartesian tensors."""

from __future__ import annotations

from functools import cache, reduce

from torch import Tensor

from e3frame.algebra.cartesian import ReducedTensor, index_irreps, read_formula, reduce_tensor
from e3frame.algebra.irreps import Irreps
from e3frame.kernels.constants import as_floating, constant
from e3frame.o3.reduced import ReducedTensorProducts


class CartesianTensor(Irreps):
    """Irreps of Cartesian tensors with an index symmetry.

    ``z_a = Σ_ij.. Q_aij.. T_ij..`` and, for tensors with the symmetry, ``T_ij.. = Σ_a Q_aij.. z_a``; see
    `e3frame.o3.ReducedTensorProducts`. The components are in the order (x, y, z), and each index is a vector (1o).

    Args:
        formula: equal index orders, such as ``ij=ji`` (stress) or ``ijk=-jik``.

    Raises:
        RuntimeError: an invalid formula.

    >>> import torch
    >>> CartesianTensor("ij=ji"), CartesianTensor("ijkl=jikl=ijlk=klij")
    (1x0e+1x2e, 2x0e+2x2e+1x4e)
    >>> stress = torch.tensor([[1.0, 2.0, 0.0], [2.0, 3.0, 4.0], [0.0, 4.0, 5.0]])
    >>> x = CartesianTensor("ij=ji")
    >>> torch.allclose(x.to_cartesian(x.from_cartesian(stress)), stress, atol=1e-5)
    True
    """

    formula: str
    indices: str

    def __new__(cls, formula: str) -> CartesianTensor:
        tensor = super().__new__(cls, tuple(_reduced(formula).irreps_out))
        tensor.formula, tensor.indices = formula, read_formula(formula)[0]
        return tensor

    def __getnewargs__(self) -> tuple[str]:
        return (self.formula,)

    def from_cartesian(self, data: Tensor, rtp: ReducedTensorProducts | None = None) -> Tensor:
        """Return the irreps of a tensor; the part without the symmetry is dropped.

        Args:
            data: (..., 3, 3, ...), with one axis for each index.
            rtp: module from `reduced_tensor_products`, to use its change of basis.

        Returns:
            (..., dim).

        Raises:
            ValueError: the last dimensions are not one 3 for each index.
        """
        rank = len(self.indices)
        if data.shape[-rank:] != (3,) * rank:
            raise ValueError(f"{self.formula} needs last dimensions {(3,) * rank}, got shape {tuple(data.shape)}")
        data = as_floating(data)
        return data.flatten(-rank) @ self._basis(data, rtp).flatten(1).mT

    def from_vectors(self, *xs: Tensor, rtp: ReducedTensorProducts | None = None) -> Tensor:
        """Return the irreps (..., dim) of ``x_1 ⊗ x_2 ⊗ ...``, with one vector (..., 3) for each index.

        Raises:
            ValueError: another number of vectors.
        """
        if rtp is not None:
            return rtp(*xs)
        if len(xs) != len(self.indices):
            raise ValueError(f"{self.formula} needs {len(self.indices)} vectors, got {len(xs)}")
        return self.from_cartesian(reduce(_outer, xs))

    def to_cartesian(self, data: Tensor, rtp: ReducedTensorProducts | None = None) -> Tensor:
        """Return the tensor (..., 3, 3, ...) of irreps ``data`` (..., dim), the inverse of `from_cartesian`.

        Raises:
            ValueError: another last dimension.
        """
        if data.shape[-1] != self.dim:
            raise ValueError(f"{self.formula} needs a last dimension of {self.dim}, got shape {tuple(data.shape)}")
        data = as_floating(data)
        basis = self._basis(data, rtp)
        return (data @ basis.flatten(1)).unflatten(-1, basis.shape[1:])

    def reduced_tensor_products(self, data: Tensor | None = None) -> ReducedTensorProducts:
        """Return the module that converts products of vectors to irreps, with the dtype and device of ``data``."""
        rtp = ReducedTensorProducts(self.formula, **dict.fromkeys(self.indices, "1o"))  # type: ignore[arg-type]  # keys are indices
        return rtp if data is None else rtp.to(device=data.device, dtype=as_floating(data).dtype)

    def _basis(self, like: Tensor, rtp: ReducedTensorProducts | None) -> Tensor:
        if rtp is not None:
            return rtp.change_of_basis
        return _load_basis(self.formula, dtype=like.dtype, device=like.device)


def _outer(tensor: Tensor, vector: Tensor) -> Tensor:
    """``(..., 3, 3, ...), (..., 3) -> (..., 3, 3, ..., 3)``."""
    lead = vector.dim() - 1
    return tensor.unsqueeze(-1) * vector.view(*vector.shape[:-1], *[1] * (tensor.dim() - lead), vector.shape[-1])


@cache
def _reduced(formula: str) -> ReducedTensor:
    indices, group = read_formula(formula)
    return reduce_tensor(indices, group, index_irreps(indices, group, dict.fromkeys(indices, Irreps("1o"))))


_load_basis = constant(lambda formula: _reduced(formula).change_of_basis)

"""Irreps of tensors with index symmetries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from e3frame.algebra.cartesian import index_irreps, read_formula, reduce_tensor
from e3frame.algebra.irreps import Irrep, IrrepLike, Irreps, IrrepsLike
from e3frame.o3.exact import ExactBuffers
from e3frame.o3.state import LoadsE3nn


class ReducedTensorProducts(LoadsE3nn, ExactBuffers):
    """``z_a = Σ_ij.. Q_aij.. x_i y_j ..``: the irreps of the symmetrized tensor ``x ⊗ y ⊗ ..``.

    Q is ``change_of_basis``, of shape (irreps_out.dim, *dimensions of the indices). Its rows are orthonormal, so
    ``T = Σ_a z_a Q_a`` is the symmetrized tensor.

    Args:
        formula: equal index orders: ``ij=ji`` is symmetric, ``ij=-ji`` antisymmetric, ``ijk=jki`` cyclic.
        filter_ir_out: irreps to keep, by default all.
        filter_ir_mid: irreps that may occur when the indices are coupled from left to right, by default all.
        eps: numbers below this count as zero.
        irreps: irreps of each index, such as ``i="1o"``; optional for an index that the formula exchanges with another.

    Raises:
        RuntimeError: an invalid formula, an index without irreps, exchanged indices with different irreps, or irreps
            for an unknown index.
        TypeError: a name of several letters in ``irreps``.
        ValueError: a filter that is not a list of irreps.

    Source: the projection onto invariants of a finite group, Serre, Linear Representations of Finite Groups, §2.6.

    >>> ReducedTensorProducts("ij=-ji", i="1o").irreps_out
    1x1e
    >>> ReducedTensorProducts("ijkl=jikl=ijlk=klij", i="1o").irreps_out  # elastic constants
    2x0e+2x2e+1x4e
    >>> tp = ReducedTensorProducts("ij=ji", i="1o")
    >>> x, y = torch.randn(2, 3)
    >>> torch.allclose(tp(x, y), torch.einsum("zij,i,j->z", tp.change_of_basis, x, y), atol=1e-6)
    True
    """

    e3nn_constants: ClassVar[tuple[str, ...]] = ("main.",)
    change_of_basis: Tensor

    def __init__(
        self,
        formula: str,
        filter_ir_out: Iterable[IrrepLike] | None = None,
        filter_ir_mid: Iterable[IrrepLike] | None = None,
        eps: float = 1e-9,
        **irreps: IrrepsLike,
    ) -> None:
        super().__init__()
        indices, group = read_formula(formula)
        own = index_irreps(indices, group, {i: Irreps(given) for i, given in irreps.items()})
        filters = (
            _read_filter("filter_ir_out", filter_ir_out),
            _read_filter("filter_ir_mid", filter_ir_mid),
        )
        self._key: tuple[Any, ...] = (indices, group, own, *filters, eps)
        self.irreps_in = list(own)
        self.irreps_out = reduce_tensor(*self._key).irreps_out
        self._own_buffers(None, None)

    def exact_buffers(self) -> dict[str, Tensor]:
        return {"change_of_basis": torch.tensor(reduce_tensor(*self._key).change_of_basis)}

    def forward(self, *xs: Tensor) -> Tensor:
        """Return the irreps (..., irreps_out.dim) of the product of one tensor (..., dim) for each index.

        Raises:
            ValueError: another number of tensors, or another last dimension.
        """
        dims = [irreps.dim for irreps in self.irreps_in]
        if [x.shape[-1] for x in xs] != dims:
            raise ValueError(
                f"expected {len(dims)} tensors with last dimensions {dims}, got shapes {[tuple(x.shape) for x in xs]}"
            )
        *rest, x = xs
        out = torch.einsum("...k,ak->...a", x, self.change_of_basis.flatten(0, -2))
        for x, dim in zip(reversed(rest), reversed(dims[:-1]), strict=True):
            out = torch.einsum("...ak,...k->...a", out.unflatten(-1, (-1, dim)), x)
        return out

    def __repr__(self) -> str:
        inputs = " times ".join(map(repr, self.irreps_in))
        return f"{type(self).__name__}(\n    in: {inputs}\n    out: {self.irreps_out}\n)"


def _read_filter(name: str, given: Iterable[IrrepLike] | None) -> frozenset[Irrep] | None:
    if given is None:
        return None
    try:
        return frozenset(ir for _, ir in Irreps(given))
    except ValueError as error:
        raise ValueError(f"{name} must be a list of irreps, got {given!r}: {error}") from None

"""The product of each channel with itself, to a power."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from e3frame import kernels
from e3frame.algebra.irreps import IrrepsLike
from e3frame.algebra.symmetric_product import Basis, plan_symmetric_product

__all__ = ["SymmetricProduct"]


class SymmetricProduct(nn.Module):
    """``out_u = Σ_ν Σ_p w[index]_pu C_p (x_u ⊗ ... ⊗ x_u)``: all products of 1 to ``correlation`` factors of a channel.

    A channel u is the u-th copy of every term of the input. This is the product basis of MACE (Batatia et al. 2022,
    https://arxiv.org/abs/2206.07697, eq. 10 and 11). With x a sum over neighbours, a product of ν factors is a function
    of ν neighbours at once (Drautz 2019, https://doi.org/10.1103/PhysRevB.99.014104). Outputs have unit variance at
    initialisation for independent normal inputs; all numbers of factors contribute equally.

    Args:
        irreps_in: terms of one multiplicity, the number of channels.
        irreps_out: irreps of the result, each of a multiple of this multiplicity: a term with twice as many copies is
            two products with weights of their own, side by side.
        correlation: highest number of factors, 1 to 4.
        num_indices: number of values of ``index``, each with weights of its own; None: one set of weights.
        basis: ``reduced``: couplings C_p that are linearly independent, orthogonal and normalized. ``full``: the
            couplings of mace-torch in its order, most of which depend on others, with its weights at initialisation.

    Raises:
        ValueError: multiplicities that do not fit, an irrep out of reach, or a number out of range.

    >>> product = SymmetricProduct("8x0e + 8x1o + 8x2e", "8x0e + 8x1o", 3, num_indices=4)
    >>> product.weight.shape, product(product.irreps_in.randn(5, -1), torch.tensor([0, 3, 1, 1, 2])).shape
    (torch.Size([4, 17, 8]), torch.Size([5, 32]))
    """

    def __init__(
        self,
        irreps_in: IrrepsLike,
        irreps_out: IrrepsLike,
        correlation: int,
        num_indices: int | None = None,
        basis: Basis = "reduced",
    ) -> None:
        super().__init__()
        self.plan = plan_symmetric_product(
            irreps_in, irreps_out, correlation, 1 if num_indices is None else num_indices, basis
        )
        self.irreps_in, self.irreps_out = self.plan.irreps_in, self.plan.irreps_out
        self.correlation, self.num_indices = correlation, num_indices
        scales = torch.tensor(self.plan.initial_scales)
        self.weight = nn.Parameter(torch.randn(self.plan.weight_shape) * scales[:, None])

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        """(n, irreps_in.dim) -> (n, irreps_out.dim).

        Args:
            index: (n,) integers from 0 to num_indices - 1, with ``num_indices``.

        Raises:
            ValueError: tensors of another shape, or an index that is missing or that the module does not take.
        """
        if (index is None) != (self.num_indices is None):
            expected = "no index" if self.num_indices is None else f"an index of {self.num_indices} sets of weights"
            raise ValueError(f"expected {expected}, got {'none' if index is None else 'one'}")
        return kernels.symmetric_product(x, self.weight, index, self.plan)

    def species_rows(self) -> dict[str, list[tuple[Tensor, int, float]]]:
        """Return the weights with the axis of the index."""
        return {} if self.num_indices is None else {"weight": [(self.weight, 0, 1.0)]}

    def __repr__(self) -> str:
        indices = "" if self.num_indices is None else f" | {self.num_indices} indices"
        return (
            f"{type(self).__name__}({self.irreps_in} -> {self.irreps_out} | correlation {self.correlation}{indices} "
            f"| {self.weight.numel()} weights)"
        )

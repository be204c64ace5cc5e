"""The identity as a module with irreps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from e3frame.algebra.errors import AssertedError
from e3frame.algebra.irreps import Irreps, IrrepsLike

__all__ = ["Identity"]


class Identity(nn.Module):
    """y = x, for places that need a map between irreps.

    Args:
        irreps_in: irreps of the input.
        irreps_out: the same irreps, which may be split into other terms.

    Raises:
        AssertedError: the two differ.
    """

    output_mask: Tensor

    def __init__(self, irreps_in: IrrepsLike, irreps_out: IrrepsLike) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = Irreps(irreps_in).simplify(), Irreps(irreps_out).simplify()
        if self.irreps_in != self.irreps_out:
            raise AssertedError(
                f"irreps_in and irreps_out of an identity must be equal, got {self.irreps_in} and {self.irreps_out}"
            )
        self.register_buffer("output_mask", torch.ones(self.irreps_out.dim))

    def forward(self, features: Tensor) -> Tensor:
        """(..., irreps_in.dim) -> the same tensor."""
        return features

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.irreps_in} -> {self.irreps_out})"

"""Norms of irreps."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from e3frame.algebra.errors import AssertedError
from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.o3.state import LoadsE3nn


class Norm(LoadsE3nn):
    """``|x_u|`` of each copy u of each irrep. Derivatives at zero are zero.

    Args:
        irreps_in: irreps of the input.
        squared: return ``|x_u|²`` instead.
    """

    e3nn_constants: ClassVar[tuple[str, ...]] = ("tp.",)

    def __init__(self, irreps_in: IrrepsLike, squared: bool = False) -> None:
        super().__init__()
        self.irreps_in = Irreps(irreps_in).simplify()
        self.irreps_out = Irreps([(mul, "0e") for mul, _ in self.irreps_in]).simplify()
        self.squared = squared

    def forward(self, features: Tensor) -> Tensor:
        """Return the norms (..., irreps_in.num_irreps) of ``features`` (..., irreps_in.dim)."""
        if features.shape[-1] != self.irreps_in.dim:
            raise AssertedError(
                f"features must have a last dimension of {self.irreps_in.dim}, got {tuple(features.shape)}"
            )
        if not self.irreps_in:
            return features
        parts = features.split([mul_ir.dim for mul_ir in self.irreps_in], dim=-1)
        squares = torch.cat(
            [
                part.unflatten(-1, (m.mul, m.ir.dim)).square().sum(-1)
                for part, m in zip(parts, self.irreps_in, strict=True)
            ],
            dim=-1,
        )
        if self.squared:
            return squares
        zero = squares == 0
        return torch.where(zero, 0.0, torch.where(zero, 1.0, squares).sqrt())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.irreps_in})"

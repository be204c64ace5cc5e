"""Dropout of whole irreps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from e3frame.algebra.irreps import Irreps, IrrepsLike

__all__ = ["Dropout"]


class Dropout(nn.Module):
    """b_u / (1 - p) x_u, where b_u ~ Bernoulli(1 - p) is one number for each irrep u and each entry of the first axis.

    All components of an irrep are dropped together, so that the layer is equivariant. The identity in evaluation.

    Args:
        irreps: irreps of the input, and of the output.
        p: probability of dropping an irrep, in [0, 1].

    Raises:
        ValueError: p is not a probability.
    """

    owner: Tensor

    def __init__(self, irreps: IrrepsLike, p: float) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"p must be a probability in [0, 1], got {p}")
        self.irreps = Irreps(irreps)
        self.irreps_in = self.irreps_out = self.irreps
        self.p = p
        dims = torch.tensor([ir.dim for mul, ir in self.irreps for _ in range(mul)], dtype=torch.long)
        owner = torch.arange(len(dims)).repeat_interleave(dims)
        self.register_buffer("owner", owner, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(z, ..., irreps.dim) -> (z, ..., irreps.dim)."""
        if not self.training or self.p == 0.0:
            return x
        if self.p == 1.0:
            return torch.zeros_like(x)
        # One draw for each term, in order, as e3nn does: the same seed drops the same irreps.
        draws = [x.new_empty(x.shape[0], mul).bernoulli_(1.0 - self.p) for mul, _ in self.irreps]
        keep = torch.cat([x.new_empty(x.shape[0], 0), *draws], dim=1).div(1.0 - self.p).index_select(1, self.owner)
        return x * keep.reshape(x.shape[0], *[1] * (x.dim() - 2), x.shape[-1])

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({self.irreps}, p={self.p})"

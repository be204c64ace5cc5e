"""Concatenation of features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Concatenate"]


class Concatenate(nn.Module):
    """x1 ⊕ x2 ⊕ ...: features one after the other on the last axis."""

    def forward(self, *fields: Tensor) -> Tensor:
        """(n, dim1), (n, dim2), ... -> (n, dim1 + dim2 + ...)."""
        return torch.cat(fields, dim=-1)

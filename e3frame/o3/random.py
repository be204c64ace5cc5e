"""Random features of given irreps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from e3frame.algebra.irreps import Irreps


def randn(irreps: Irreps, size: tuple[int, ...], normalization: str, requires_grad: bool, **options: Any) -> Tensor:
    """Normal random tensor of shape ``size``, whose one -1 stands for the irreps; see `Irreps.randn`.

    Args:
        normalization: ``component`` (each component has unit variance) or ``norm`` (each irrep has unit norm).
        options: dtype, device and generator.

    Raises:
        ValueError: not one -1, or another normalization.
    """
    if size.count(-1) != 1:
        raise ValueError(f"randn needs one -1 in its size, which stands for the irreps; got {size}")
    if normalization not in ("component", "norm"):
        raise ValueError(f"normalization must be 'component' or 'norm', got {normalization!r}")
    axis = size.index(-1)
    x = torch.randn((*size[:axis], irreps.dim, *size[axis + 1 :]), **options)
    if normalization == "norm":
        for (mul, ir), where in zip(irreps, irreps.slices(), strict=True):
            chunk = x.narrow(axis, where.start, mul * ir.dim).unflatten(axis, (mul, ir.dim))
            chunk.div_(chunk.norm(dim=axis + 1, keepdim=True))
    return x.requires_grad_() if requires_grad else x

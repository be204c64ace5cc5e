"""Normalisation of irreps by their root mean square."""

from __future__ import annotations

from functools import cache
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.kernels.constants import as_floating, constant
from e3frame.nn.parameters import Role

__all__ = ["RMSNorm"]


class RMSNorm(nn.Module):
    """γ_u x_u / sqrt(σ² + ε) with σ² = (1/M) Σ_v ‖x_v‖²/(2l_v + 1) over all M copies of all irreps.

    One number for all irreps, as in EquiformerV2 (Liao et al. 2023, arXiv 2306.12059): directions and the
    ratios between irreps stay, and an irrep that is nearly zero is not blown up. Dividing by 2l + 1 makes each copy
    count alike. No mean is subtracted, so that one scalar is enough, and zero stays zero.

    Args:
        irreps: irreps of the input, and of the output.
        eps: ε, which keeps derivatives finite at zero features.
        affine: learn γ (``weight``, one for each irrep).

    Raises:
        ValueError: ``eps`` is not positive.
    """

    parameter_roles: ClassVar[dict[str, Role]] = {"weight": "bias"}
    owner: Tensor  # of each component, the number of its irrep

    def __init__(self, irreps: IrrepsLike, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        if not eps > 0:
            raise ValueError(f"eps must be positive, got {eps}")
        self.irreps = Irreps(irreps)
        self.irreps_in = self.irreps_out = self.irreps
        self.eps = eps
        self.affine = affine
        self._dims = tuple(ir.dim for mul, ir in self.irreps for _ in range(mul))
        owner = torch.arange(len(self._dims)).repeat_interleave(torch.tensor(self._dims, dtype=torch.int64))
        self.register_buffer("owner", owner, persistent=False)
        if affine:
            self.weight = nn.Parameter(torch.ones(self.irreps.num_irreps))

    def forward(self, x: Tensor) -> Tensor:
        """(..., irreps.dim) -> (..., irreps.dim)."""
        x = as_floating(x)
        shares = _shares(self._dims, dtype=x.dtype, device=x.device)
        x = x * ((x.square() @ shares).unsqueeze(-1) + self.eps).rsqrt()
        return x * self.weight.index_select(0, self.owner) if self.affine else x

    def extra_repr(self) -> str:
        return f"{self.irreps}, eps={self.eps}, affine={self.affine}"


@cache
def _mean_square(dims: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the share 1/(M (2l + 1)) of each component in σ²."""
    return np.repeat(1 / (len(dims) * np.array(dims, dtype=np.float64)), dims) if dims else np.zeros(0)


_shares = constant(_mean_square, shared=True)

"""Nonlinearity on the norm of each irrep."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.kernels.constants import as_floating
from e3frame.nn.activation import ScalarFunction, activation
from e3frame.nn.geometry import safe_norm
from e3frame.o3.state import LoadsE3nn

__all__ = ["NormActivation"]


class NormActivation(LoadsE3nn):
    """x φ(‖x‖ + b)/‖x‖ for each irrep x (Thomas et al. 2018), or x φ(‖x‖ + b) without ``normalize``.

    Equivariant for every φ. Norms below ``epsilon`` count as ``epsilon``, so that the map is linear near zero and has
    finite derivatives there.

    Args:
        irreps_in: irreps of the input, and of the output.
        scalar_nonlinearity: φ, a name or a function; it is not normalised.
        normalize: divide by the norm.
        epsilon: smallest norm, 1e-8 unless given; only with ``normalize``.
        bias: learn b, one for each irrep, zero at first.

    Raises:
        ValueError: ``epsilon`` is not positive, or given without ``normalize``.
    """

    e3nn_constants: ClassVar[tuple[str, ...]] = ("norm.", "scalar_multiplier.")

    def __init__(
        self,
        irreps_in: IrrepsLike,
        scalar_nonlinearity: str | ScalarFunction,
        normalize: bool = True,
        epsilon: float | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if epsilon is not None and not normalize:
            raise ValueError("epsilon needs normalize=True")
        if epsilon is not None and not epsilon > 0:
            raise ValueError(f"epsilon must be positive, got {epsilon}")
        self.irreps_in = self.irreps_out = Irreps(irreps_in)
        self.scalar_nonlinearity = activation(scalar_nonlinearity)
        self.normalize = normalize
        self.epsilon = (1e-8 if epsilon is None else epsilon) if normalize else None
        self.bias = bias
        if bias:
            self.biases = nn.Parameter(torch.zeros(self.irreps_in.num_irreps))

    def forward(self, features: Tensor) -> Tensor:
        """(..., irreps_in.dim) -> (..., irreps_in.dim)."""
        features = as_floating(features)
        out, i, j = [features[..., :0]], 0, 0
        for mul, ir in self.irreps_in:
            x = features[..., i : i + mul * ir.dim].unflatten(-1, (mul, ir.dim))
            scale = self._scale(x, self.biases[j : j + mul] if self.bias else None)
            out.append((x * scale.unsqueeze(-1)).flatten(-2))
            i, j = i + mul * ir.dim, j + mul
        return torch.cat(out, dim=-1)

    def _scale(self, x: Tensor, bias: Tensor | None) -> Tensor:
        # The clamp cuts the derivative off before that of the root can be infinite.
        # In half precision the square of epsilon would be zero.
        smallest = max(self.epsilon**2, torch.finfo(x.dtype).tiny) if self.epsilon else None
        norm = safe_norm(x) if smallest is None else x.square().sum(-1).clamp(min=smallest).sqrt()
        scale = self.scalar_nonlinearity(norm if bias is None else norm + bias)
        return scale / norm if self.normalize else scale

    def extra_repr(self) -> str:
        return f"{self.irreps_in}, normalize={self.normalize}, epsilon={self.epsilon}, bias={self.bias}"

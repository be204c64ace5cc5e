"""Batch normalisation of irreps."""

from __future__ import annotations

from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from e3frame.algebra.errors import AssertedError
from e3frame.algebra.irreps import Irreps, IrrepsLike
from e3frame.nn.parameters import Role

__all__ = ["BatchNorm"]


class BatchNorm(nn.Module):
    """γ_u (x_u - μ_u)/√(σ_u² + ε) + β_u for each irrep u, with statistics over the batch.

    μ_u is the mean of a 0e, and 0 for all other irreps, σ_u² the mean of ‖x_u - μ_u‖², divided by 2l + 1 under
    ``component``. In evaluation both are running averages, as in Ioffe & Szegedy (2015).

    Args:
        irreps: irreps of the input, and of the output.
        eps: ε.
        momentum: weight of a new batch in the running averages.
        affine: learn γ (``weight``, one for each irrep) and β (``bias``, one for each 0e).
        reduce: "mean" or "max": how σ² combines the samples of one entry of the batch.
        instance: compute statistics for each entry of the batch, without running averages.
        include_bias: learn β.
        normalization: "component" or "norm".

    Raises:
        ValueError: an unknown ``reduce`` or ``normalization``.
    """

    parameter_roles: ClassVar[dict[str, Role]] = {"weight": "bias"}
    running_mean: Tensor | None
    running_var: Tensor | None

    def __init__(
        self,
        irreps: IrrepsLike,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        reduce: str = "mean",
        instance: bool = False,
        include_bias: bool = True,
        normalization: str = "component",
    ) -> None:
        super().__init__()
        if reduce not in ("mean", "max"):
            raise AssertedError(f"reduce must be 'mean' or 'max', got '{reduce}'")
        if normalization not in ("component", "norm"):
            raise AssertedError(f"normalization must be 'component' or 'norm', got '{normalization}'")
        self.irreps = Irreps(irreps)
        self.irreps_in = self.irreps_out = self.irreps
        self.eps, self.momentum = eps, momentum
        self.affine, self.include_bias = affine, include_bias
        self.reduce, self.instance, self.normalization = reduce, instance, normalization
        scalars, features = self.irreps.count("0e"), self.irreps.num_irreps
        self.register_buffer("running_mean", None if instance else torch.zeros(scalars))
        self.register_buffer("running_var", None if instance else torch.ones(features))
        self.weight = nn.Parameter(torch.ones(features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(scalars)) if affine and include_bias else None

    def forward(self, input: Tensor) -> Tensor:
        """(batch, ..., irreps.dim) -> (batch, ..., irreps.dim)."""
        if input.shape[-1] != self.irreps.dim:
            raise AssertedError(f"input must have a last dimension of {self.irreps.dim}, got {tuple(input.shape)}")
        x = input.reshape(input.shape[0], prod(input.shape[1:-1]), input.shape[-1])
        means, variances, out, i, j = [], [], [x[..., :0]], 0, 0
        for piece, (mul, ir) in zip(self.irreps.slices(), self.irreps, strict=True):
            if mul == 0:
                continue
            field = x[..., piece].unflatten(-1, (mul, ir.dim))
            of_feature, of_scalar = slice(i, i + mul), slice(j, j + mul)
            if ir.is_scalar():
                means.append(self._mean(field, of_scalar))
                field = field - means[-1][:, None, :, None]
            variances.append(self._variance(field, of_feature))
            factor = (variances[-1] + self.eps).rsqrt()
            if self.weight is not None:
                factor = factor * self.weight[of_feature]
            field = field * factor[:, None, :, None]
            if ir.is_scalar():
                field = field if self.bias is None else field + self.bias[of_scalar, None]
                j += mul
            out.append(field.flatten(-2))
            i += mul
        self._update(means, variances, x.shape[0] * x.shape[1])
        return torch.cat(out, dim=-1).reshape(input.shape)

    def _mean(self, field: Tensor, of_scalar: slice) -> Tensor:
        if self.instance:
            return _mean(field, (1, 3))
        if self.training:
            return _mean(field, (0, 1, 3))[None]
        assert self.running_mean is not None
        return self.running_mean[None, of_scalar]

    def _variance(self, field: Tensor, of_feature: slice) -> Tensor:
        if not (self.training or self.instance):
            assert self.running_var is not None
            return self.running_var[None, of_feature]
        square = field.square()
        square = square.sum(-1) if self.normalization == "norm" else square.mean(-1)
        largest = self.reduce == "max" and square.shape[1] > 0
        square = square.amax(1) if largest else _mean(square, (1,))
        return square if self.instance else _mean(square, (0,))[None]

    def _update(self, means: list[Tensor], variances: list[Tensor], samples: int) -> None:
        if not self.training or self.instance or not samples:
            return  # no samples have no average
        with torch.no_grad():
            for running, new in ((self.running_mean, means), (self.running_var, variances)):
                if new and running is not None:
                    running.lerp_(torch.cat(new, dim=-1)[0], self.momentum)

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({self.irreps}, eps={self.eps}, momentum={self.momentum})"


def _mean(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Return the mean, or zero if x is empty, so that gradients hold no NaN."""
    return x.mean(dims) if x.numel() else x.sum(dims)

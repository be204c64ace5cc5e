"""Muon for stacks of matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from e3frame.nn.optim.stacks import MatrixOptimizer

__all__ = ["Muon", "orthogonalized"]

_QUINTIC = 3.4445, -4.7750, 2.0315
"""Coefficients whose iteration brings singular values close to 1 soonest, although not exactly to 1."""


class Muon(MatrixOptimizer):
    """Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): the momentum, orthogonalized.

    The update has a root mean square of 0.2, like Adam's (Liu et al. 2025, arXiv 2502.16982, eq. 4).

    Args:
        groups: see `MatrixOptimizer`.
        lr, momentum, weight_decay: values for groups that have none of their own.
        iterations: Newton-Schulz iterations.
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        iterations: int = 5,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "iterations": iterations}
        super().__init__(groups, defaults)

    def update(self, gradient: Tensor, state: dict[str, Tensor], step: int, group: Mapping[str, Any]) -> Tensor:
        momentum = state.setdefault("momentum_buffer", torch.zeros_like(gradient))
        momentum.lerp_(gradient, 1 - group["momentum"])
        nesterov = gradient.lerp_(momentum, group["momentum"])
        return orthogonalized(nesterov, group["iterations"]).mul_(0.2 * gradient.shape[-1] ** 0.5)


def orthogonalized(x: Tensor, iterations: int) -> Tensor:
    """Return ``U V^T`` of the singular value decompositions ``x = U S V^T``, up to factors of 0.7 to 1.2.

    Args:
        x: (number, rows, columns) with rows <= columns.
        iterations: Newton-Schulz iterations ``x <- (a + b s + c s^2) x`` with ``s = x x^T``, at least one.

    Only the factor of x and s change from one iteration to the next: both have the size of the shorter side.
    """
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
    s = x @ x.mT
    factor = p = _factor(s)
    for _ in range(iterations - 1):
        s = p @ s @ p
        p = _factor(s)
        factor = p @ factor
    return factor @ x


def _factor(s: Tensor) -> Tensor:
    """Return ``a + b s + c s^2``."""
    a, b, c = _QUINTIC
    factor = torch.baddbmm(s, s, s, beta=b, alpha=c)
    factor.diagonal(dim1=-2, dim2=-1).add_(a)
    return factor

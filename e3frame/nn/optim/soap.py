"""SOAP for stacks of matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from e3frame.nn.optim.stacks import MatrixOptimizer

__all__ = ["SOAP"]


class SOAP(MatrixOptimizer):
    """Adam in the eigenbases of Shampoo's preconditioners (Vyas et al. 2024, arXiv 2409.11321, algorithm 3).

    The preconditioners of a matrix are running means of ``G G^T`` and ``G^T G`` of its gradients G. Their eigenbases
    follow by one step of the power method every ``every`` steps. The first step fills the preconditioners and leaves
    the weights.

    Args:
        groups: see `MatrixOptimizer`.
        lr, weight_decay: values for groups that have none of their own.
        betas: decay of the running means of the gradient, and of its square in the eigenbasis.
        shampoo_beta: decay of the preconditioners.
        eps: added to the denominator.
        every: steps from one new eigenbasis to the next.
        largest: sides of more rows or columns have no preconditioner.
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.95, 0.95),
        shampoo_beta: float = 0.95,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        every: int = 10,
        largest: int = 256,
    ) -> None:
        rates = {"lr": lr, "betas": betas, "shampoo_beta": shampoo_beta, "eps": eps, "weight_decay": weight_decay}
        super().__init__(groups, {**rates, "every": every, "largest": largest})

    def update(self, gradient: Tensor, state: dict[str, Tensor], step: int, group: Mapping[str, Any]) -> Tensor:
        sides = [side for side in _SIDES if gradient.shape[side.axis] <= group["largest"]]
        if step == 0:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
            for side in sides:
                side.begin(gradient, state)
            return torch.zeros_like(gradient)
        (beta_1, beta_2), mean, square = group["betas"], state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(gradient, 1 - beta_1)
        turned, turned_mean = gradient, mean
        for side in sides:
            turned, turned_mean = side.turned(turned, state), side.turned(turned_mean, state)
        square.lerp_(turned.square(), 1 - beta_2)
        update = turned_mean / (square.sqrt() / (1 - beta_2**step) ** 0.5 + group["eps"]) / (1 - beta_1**step)
        for side in sides:
            update = side.back(update, state)
            side.observe(gradient, state, group["shampoo_beta"])
        if step == 1 or step % group["every"] == 0:
            for side in sides:
                side.follow(state)
        return update


class _Side:
    """The preconditioner of the rows or the columns of a stack, and its eigenvectors, as the columns of a matrix."""

    def __init__(self, name: str, axis: int) -> None:
        self.axis, self.mean, self.basis = axis, f"{name}_mean", f"{name}_basis"

    def _rows_first(self, x: Tensor) -> Tensor:
        return x if self.axis == -2 else x.mT

    def begin(self, gradient: Tensor, state: dict[str, Tensor]) -> None:
        x = self._rows_first(gradient)
        state[self.mean] = x @ x.mT
        state[self.basis] = torch.linalg.eigh(state[self.mean]).eigenvectors.flip(-1).contiguous()

    def turned(self, x: Tensor, state: dict[str, Tensor]) -> Tensor:
        basis = state[self.basis]
        return basis.mT @ x if self.axis == -2 else x @ basis

    def back(self, x: Tensor, state: dict[str, Tensor]) -> Tensor:
        basis = state[self.basis]
        return basis @ x if self.axis == -2 else x @ basis.mT

    def observe(self, gradient: Tensor, state: dict[str, Tensor], beta: float) -> None:
        x = self._rows_first(gradient)
        state[self.mean].lerp_(x @ x.mT, 1 - beta)

    def follow(self, state: dict[str, Tensor]) -> None:
        """Take a step of the power method, with the eigenvalues in order; ``exp_avg_sq`` follows their order."""
        basis = state[self.basis]
        after = state[self.mean] @ basis
        order = (basis * after).sum(-2).argsort(-1, descending=True)  # by the eigenvalues
        # Contiguous, as checkpoints keep it: in another order of memory the next product would be rounded otherwise.
        state[self.basis] = torch.linalg.qr(after.gather(-1, order.unsqueeze(-2).expand_as(after))).Q.contiguous()
        square = self._rows_first(state["exp_avg_sq"])
        square = square.gather(-2, order.unsqueeze(-1).expand_as(square))
        state["exp_avg_sq"] = self._rows_first(square).contiguous()


_SIDES = _Side("row", -2), _Side("column", -1)

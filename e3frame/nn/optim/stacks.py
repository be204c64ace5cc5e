"""Matrices of equal shape, from anywhere in the parameters of a model, as one batch of matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from e3frame.nn.parameters import Place

__all__ = ["MatrixOptimizer", "Stack"]


class Stack:
    """Matrices of one shape (rows, columns) with rows <= columns; matrices with more rows are transposed.

    Args:
        shape: rows and columns.
        parts: parameters, and the places of their matrices.
    """

    def __init__(self, shape: tuple[int, int], parts: Sequence[tuple[nn.Parameter, Place]]) -> None:
        self.shape, self.parts = shape, list(parts)

    @classmethod
    def all_of(cls, group: Mapping[str, Any]) -> list[Stack]:
        """Return the stacks of a group of parameters, whose ``matrices`` are the places in each of them."""
        stacks: dict[tuple[int, int], list[tuple[nn.Parameter, Place]]] = {}
        for parameter, places in zip(group["params"], group["matrices"], strict=True):
            for place in places:
                rows, columns = sorted(place[0][-2:])
                stacks.setdefault((rows, columns), []).append((parameter, place))
        return [cls(shape, parts) for shape, parts in sorted(stacks.items())]

    def gradients(self) -> Tensor:
        """Return the gradients of the matrices, (number, rows, columns); zero where a parameter has none."""
        parts = [
            self._oriented(torch.zeros_like(p) if p.grad is None else p.grad.contiguous(), place)
            for p, place in self.parts
        ]
        return torch.cat(parts) if len(parts) > 1 else parts[0].clone()

    def add_(self, update: Tensor) -> None:
        """Add (number, rows, columns) to the matrices."""
        begin = 0
        for parameter, place in self.parts:
            view = _view(parameter, place)
            count = view.shape[:-2].numel()
            part = update.narrow(0, begin, count)
            view.add_((part.mT if self._turned(place) else part).reshape(view.shape))
            begin += count

    def _turned(self, place: Place) -> bool:
        return place[0][-2] > place[0][-1]

    def _oriented(self, tensor: Tensor, place: Place) -> Tensor:
        flat = _view(tensor, place).flatten(0, -3) if len(place[0]) > 2 else _view(tensor, place).unsqueeze(0)
        return flat.mT if self._turned(place) else flat


def _view(tensor: Tensor, place: Place) -> Tensor:
    size, stride, offset = place
    return tensor.as_strided(size, stride, tensor.storage_offset() + offset)


class MatrixOptimizer(Optimizer):
    """``W <- (1 - lr weight_decay) W - lr U`` for matrices W, with an update U of the root mean square that Adam has.

    The state of a stack belongs to its first parameter; its names begin with the shape of the matrices.

    Args:
        groups: groups of parameters with ``matrices``, the places of the matrices in each parameter.
        defaults: values for groups that have none of their own, ``lr`` and ``weight_decay`` among them.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], defaults: dict[str, Any]) -> None:
        super().__init__(groups, defaults)
        self.stacks = [Stack.all_of(group) for group in groups]

    def update(self, gradient: Tensor, state: dict[str, Tensor], step: int, group: Mapping[str, Any]) -> Tensor:
        """Return the update U of a stack.

        Args:
            gradient: (number, rows, columns).
            state: of this stack, empty before the first step.
            step: steps done before this one.
            group: options of the group.
        """
        raise NotImplementedError(f"{type(self).__name__}.update")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group, stacks in zip(self.param_groups, self.stacks, strict=True):
            step = self.state[group["params"][0]].setdefault("step", torch.zeros(()))
            updates = [self._update(stack, int(step), group) for stack in stacks]
            if group["weight_decay"]:
                torch._foreach_mul_(group["params"], 1 - group["lr"] * group["weight_decay"])
            for stack, update in zip(stacks, updates, strict=True):
                stack.add_(update.mul_(-group["lr"]))
            step += 1
        return loss

    def _update(self, stack: Stack, step: int, group: Mapping[str, Any]) -> Tensor:
        kept, prefix = self.state[stack.parts[0][0]], "{}x{}.".format(*stack.shape)
        state = {name.removeprefix(prefix): value for name, value in kept.items() if name.startswith(prefix)}
        update = self.update(stack.gradients(), state, step, group)
        kept.update({prefix + name: value for name, value in state.items()})
        return update

"""Multilayer perceptron on scalars."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from e3frame import kernels
from e3frame.math.moments import normalize2mom
from e3frame.nn.activation import ScalarFunction, activation, scaled

__all__ = ["FullyConnectedNet"]


class _Layer(nn.Module):
    """c φ(a x W + b), or c x W + b without φ.

    Args:
        act: φ, or None.
        a, c: constant factors.
        bias: learn b, zero at first.
    """

    def __init__(self, h_in: int, h_out: int, act: normalize2mom | None, a: float, c: float, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(h_in, h_out))
        self.bias = nn.Parameter(torch.zeros(h_out)) if bias else None
        self.act = act  # which may have parameters
        self.a, self.c = a, c
        self._plan = None if act is None else scaled(act, a, c)

    def forward(self, x: Tensor) -> Tensor:
        """(..., h_in) -> (..., h_out)."""
        if self._plan is None:
            x = x @ (self.weight if self.c == 1.0 else self.weight * self.c)
            return x if self.bias is None else x + self.bias
        x = x @ self.weight
        return kernels.activation(x if self.bias is None else x + self.bias / self.a, self._plan)

    def weight_matrices(self) -> dict[str, list[Tensor]]:
        return {"weight": [self.weight]}

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]} -> {self.weight.shape[1]}, bias={self.bias is not None}"


class FullyConnectedNet(nn.Sequential):
    """x ← φ(x W / √h), layer by layer, with φ of unit second moment and W standard normal at first.

    Activations thus have unit variance at initialisation at every width. Without biases, and with φ(0) = 0, a zero
    input gives a zero output: a radial network keeps the smooth cutoff of its basis.

    Args:
        hs: sizes of the input, the hidden layers and the output.
        act: φ, a name or a function; None for a linear map.
        variance_in: variance of the input's elements.
        variance_out: variance wanted of the output's elements.
        out_act: apply φ after the last layer too.
        bias: add a learned vector, zero at first, before each φ and to the output.

    Raises:
        ValueError: fewer than two sizes, or a size that is not positive.
    """

    def __init__(
        self,
        hs: Sequence[int],
        act: str | ScalarFunction | None = None,
        variance_in: float = 1.0,
        variance_out: float = 1.0,
        out_act: bool = False,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.hs = list(hs)
        if len(self.hs) < 2 or any(h < 1 for h in self.hs):
            raise ValueError(f"two or more positive sizes are required, got {self.hs}")
        phi = None if act is None else normalize2mom(activation(act))
        last = len(self.hs) - 2
        acts = [phi if i < last or out_act else None for i in range(last + 1)]
        factors = [h**-0.5 for h in self.hs[:-1]]
        factors[0] *= variance_in**-0.5
        end = variance_out**0.5
        for i, act in enumerate(acts):
            # A last layer without φ leaves its factors to the activation before it.
            before, c = i > 0 and acts[i - 1] is not None, 1.0
            if act is None and not before:
                c = factors[i] * (end if i == last else 1.0)
            elif act is not None and i + 1 <= last and acts[i + 1] is None:
                c = factors[i + 1] * end
            elif act is not None and i == last:
                c = end
            self.add_module(f"layer{i}", _Layer(self.hs[i], self.hs[i + 1], act, factors[i], c, bias))

    def forward(self, x: Tensor) -> Tensor:
        """(..., h_in) -> (..., h_out)."""
        for layer in self:
            x = layer.forward(x)
        return x

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.hs}"

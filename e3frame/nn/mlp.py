"""Multilayer perceptron on scalars."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import ClassVar

import torch
from torch import Tensor, nn

from e3frame import kernels
from e3frame.kernels.native.pointwise import activate
from e3frame.math.moments import normalize2mom
from e3frame.nn.activation import ScalarFunction, activation, native_act
from e3frame.nn.parameters import Role

__all__ = ["FullyConnectedNet"]


class _Layer(nn.Module):
    parameter_roles: ClassVar[dict[str, Role]] = {"weight": "matrix"}

    def __init__(self, h_in: int, h_out: int, act: nn.Module | None, var_in: float, var_out: float, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(h_in, h_out))
        self.bias = nn.Parameter(torch.zeros(h_out)) if bias else None
        self.act = act
        self.factor = (h_in * var_in) ** -0.5
        self.out_factor = var_out**0.5

    def forward(self, x: Tensor) -> Tensor:
        if self.act is None:
            x = x @ (self.weight * (self.factor * self.out_factor))
            return x if self.bias is None else x + self.bias
        x = x @ (self.weight * self.factor)
        x = self.act(x if self.bias is None else x + self.bias)
        return x if self.out_factor == 1.0 else x * self.out_factor

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
        for i, (h_in, h_out) in enumerate(zip(self.hs, self.hs[1:], strict=False)):
            var_in, var_out = (variance_in if i == 0 else 1.0), (variance_out if i == last else 1.0)
            layer = _Layer(h_in, h_out, phi if i < last or out_act else None, var_in, var_out, bias)
            self.add_module(f"layer{i}", layer)
        self._native = self._native_acts()

    def _native_acts(self) -> list[str] | None:
        """What stands between the matrix products, all constant factors included; None if the kernels lack it."""
        layers: list[_Layer] = list(self)  # type: ignore[arg-type]
        acts = []
        for layer, after in zip(layers, [*layers[1:], None], strict=True):
            if layer.act is None:
                continue
            out = layer.out_factor
            if after is not None and after.act is None:
                out *= after.factor * after.out_factor
            acts.append(native_act(layer.act, layer.factor, out))
        return None if not acts or None in acts else acts

    def forward(self, x: Tensor) -> Tensor:
        """(..., h_in) -> (..., h_out)."""
        if self._native is None or not kernels.runs_natively(x):
            return super().forward(x)
        for layer, act in zip_longest(self, self._native):
            x = x @ layer.weight
            if layer.bias is not None:
                x = x + (layer.bias if act is None else layer.bias / layer.factor)
            if act is not None:
                x = activate(x, act)
        return x

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.hs}"

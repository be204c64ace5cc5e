"""Functions of one tensor, row by row, with native first and second derivatives.

A function f is three operators: f(x), the gradient o·f'(x), and the gradients of a·(o·f'(x)). Derivatives beyond those
are taken of the plain torch form of f.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ctypes import Structure, byref
from math import prod
from typing import Any

import torch
from torch import Tensor

from e3frame.kernels.native import library
from e3frame.kernels.native.operators import Operator


class Unary:
    """f: ``(..., n) -> (..., m)``, described by a text.

    Args:
        name: of the operators, and of the function in the library.
        compile: from the text to what the library reads, cached.
        width: m for a text and n.
        reference: f in plain torch, of a tensor and the text.
        elementwise: whether the library counts elements, not rows.
    """

    def __init__(
        self,
        name: str,
        compile: Callable[[str], Structure],
        width: Callable[[str, int], int],
        reference: Callable[[Tensor, str], Tensor],
        elementwise: bool = False,
    ) -> None:
        self.name, self.compile, self.width, self.reference = name, compile, width, reference
        self.elementwise = elementwise
        self.value = Operator(
            name, "(Tensor x, str text) -> Tensor", self._value, self._value_fake, self._value_derivative
        )
        self.gradient = Operator(
            f"{name}_backward",
            "(Tensor x, Tensor o, str text) -> Tensor",
            self._gradient,
            lambda x, o, text: torch.empty_like(x),
            self._gradient_derivative,
        )
        self.twice = Operator(
            f"{name}_twice",
            "(Tensor x, Tensor o, Tensor a, str text) -> (Tensor, Tensor)",
            self._twice,
            lambda x, o, a, text: (torch.empty_like(x), torch.empty_like(o)),
            self._twice_derivative,
        )

    def __call__(self, x: Tensor, text: str) -> Tensor:
        return self.value(x, text)

    def _run(self, order: int, text: str, x: Tensor, *tensors: Tensor | None) -> None:
        """``tensors``: o, a, out, go."""
        count = x.numel() if self.elementwise else prod(x.shape[:-1])
        pointers = (None if t is None else t.data_ptr() for t in (x, *tensors))
        run = getattr(library.kernels(x.dtype), self.name)
        library.check(run(byref(self.compile(text)), order, *pointers, count, torch.get_num_threads()))

    def _value_fake(self, x: Tensor, text: str) -> Tensor:
        return x.new_empty(*x.shape[:-1], self.width(text, x.shape[-1]))

    def _value(self, x: Tensor, text: str) -> Tensor:
        x, out = x.contiguous(), self._value_fake(x, text)
        self._run(0, text, x, None, None, out, None)
        return out

    def _gradient(self, x: Tensor, o: Tensor, text: str) -> Tensor:
        x, o = x.contiguous(), o.contiguous()
        out = torch.empty_like(x)
        self._run(1, text, x, o, None, out, None)
        return out

    def _twice(self, x: Tensor, o: Tensor, a: Tensor, text: str) -> tuple[Tensor, Tensor]:
        x, o, a = x.contiguous(), o.contiguous(), a.contiguous()
        out, go = torch.empty_like(x), torch.empty_like(o)
        self._run(2, text, x, o, a, out, go)
        return out, go

    def _value_derivative(self, needs: Sequence[bool], inputs: tuple, cotangents: tuple) -> tuple:
        x, text = inputs
        return self.gradient(x, cotangents[0], text), None

    def _gradient_derivative(self, needs: Sequence[bool], inputs: tuple, cotangents: tuple) -> tuple:
        x, o, text = inputs
        gx, go = self.twice(x, o, cotangents[0], text)
        return gx, go, None

    def _twice_derivative(self, needs: Sequence[bool], inputs: tuple, cotangents: tuple) -> tuple:
        *tensors, text = inputs
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            # Views, since one of these may itself have been computed from another, which is no concern of this function.
            x, o, a = (t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in tensors)
            (gx,) = torch.autograd.grad(self.reference(x, text), x, o, create_graph=True)
            outputs = torch.autograd.grad((a * gx).sum(), (x, o), create_graph=True, materialize_grads=True)
            wanted: list[Any] = [(out, c) for out, c in zip(outputs, cotangents, strict=True) if c is not None]
            total = sum((out * c).sum() for out, c in wanted)
            gradients = torch.autograd.grad(total, (x, o, a), create_graph=create_graph, materialize_grads=True)
        return *gradients, None

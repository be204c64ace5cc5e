"""Functions of one tensor, row by row, with native first and second derivatives.

A function f is three operators: f(x), its gradient o·f'(x), and the gradients of a·(o·f'(x)). Higher derivatives are
those of f in plain torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ctypes import Structure, byref
from math import prod
from typing import Any

import torch
from torch import Tensor

from e3frame.kernels.native import library
from e3frame.kernels.native.operators import Operator, Values, require_memory


class Unary:
    """f: ``(..., n) -> (..., m)``, described by a text.

    Args:
        name: name of the operators, and of the function in the library.
        compile: turns the text into a structure for the library; cached.
        width: returns m for a text and n; raises a ValueError if n is wrong.
        reference: f in plain torch, as a function of a tensor and the text.
        elementwise: whether the function in the library takes the number of elements, not of rows.
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
            lambda x, o, text: _like(x),
            self._gradient_derivative,
        )
        self.twice = Operator(
            f"{name}_twice",
            "(Tensor x, Tensor o, Tensor a, str text) -> (Tensor, Tensor)",
            self._twice,
            lambda x, o, a, text: (_like(x), _like(o)),
            self._twice_derivative,
        )

    def __call__(self, x: Tensor, text: str) -> Tensor:
        return self.value(x, text)

    def _run(self, order: int, text: str, x: Tensor, *tensors: Tensor | None) -> None:
        """Run the library on x and the tensors o, a, out, go."""
        count = x.numel() if self.elementwise else prod(x.shape[:-1])
        pointers = (None if t is None else t.data_ptr() for t in (x, *tensors))
        run = getattr(library.kernels(x.dtype), self.name)
        library.check(run(byref(self.compile(text)), order, *pointers, count, library.threads()))

    def _check(self, text: str, x: Tensor, o: Tensor, a: Tensor | None = None) -> None:
        if o.shape != (*x.shape[:-1], self.width(text, x.shape[-1])) or (a is not None and a.shape != x.shape):
            shapes = [tuple(t.shape) for t in (x, o, a) if t is not None]
            raise ValueError(f"{self.name}: shapes do not fit, got {', '.join(map(str, shapes))}")
        if o.dtype != x.dtype or (a is not None and a.dtype != x.dtype):
            types = [str(t.dtype) for t in (x, o, a) if t is not None]
            raise ValueError(f"{self.name} needs tensors of one type, got {' and '.join(types)}")

    def _value_fake(self, x: Tensor, text: str) -> Tensor:
        return x.new_empty(*x.shape[:-1], self.width(text, x.shape[-1]))

    def _value(self, x: Tensor, text: str) -> Tensor:
        x, out = x.contiguous(), self._value_fake(x, text)
        self._run(0, text, x, None, None, out, None)
        return out

    def _gradient(self, x: Tensor, o: Tensor, text: str) -> Tensor:
        self._check(text, x, o)
        x, o, out = x.contiguous(), o.contiguous(), _like(x)
        self._run(1, text, x, o, None, out, None)
        return out

    def _twice(self, x: Tensor, o: Tensor, a: Tensor, text: str) -> tuple[Tensor, Tensor]:
        self._check(text, x, o, a)
        x, o, a, out, go = x.contiguous(), o.contiguous(), a.contiguous(), _like(x), _like(o)
        self._run(2, text, x, o, a, out, go)
        return out, go

    def _value_derivative(self, needs: Sequence[bool], inputs: Values, cotangents: Values) -> Values:
        x, text = inputs
        return self.gradient(x, cotangents[0], text), None

    def _gradient_derivative(self, needs: Sequence[bool], inputs: Values, cotangents: Values) -> Values:
        x, o, text = inputs
        gx, go = self.twice(x, o, cotangents[0], text)
        return gx, go, None

    def _twice_derivative(self, needs: Sequence[bool], inputs: Values, cotangents: Values) -> Values:
        *tensors, text = inputs
        require_memory(self.twice.name, (*tensors, *cotangents))
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            # Views: one of these may have been computed from another, which must not count here.
            x, o, a = (t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in tensors)
            y = self.reference(x, text)
            if not y.requires_grad:  # a constant
                return *map(torch.zeros_like, tensors), None
            (gx,) = torch.autograd.grad(y, x, o, create_graph=True)
            outputs = torch.autograd.grad((a * gx).sum(), (x, o), create_graph=True, materialize_grads=True)
            wanted: list[Any] = [(out, c) for out, c in zip(outputs, cotangents, strict=True) if c is not None]
            total = sum((out * c).sum() for out, c in wanted)
            if not total.requires_grad:  # the second derivative of a linear function
                return *map(torch.zeros_like, tensors), None
            gradients = torch.autograd.grad(total, (x, o, a), create_graph=create_graph, materialize_grads=True)
        return *gradients, None


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def expect(name: str, n: int, expected: int) -> None:
    """Raise a ValueError if the length n of the last axis is not the expected one."""
    if n != expected:
        raise ValueError(f"{name} needs a last axis of {expected}, got {n}")

"""Operators of torch that run native code: differentiable, and known to compilers.

The same function runs in two ways: as an operator of ``torch.library`` where a compiler or exporter looks on, and
directly, which costs half as much per call, where nobody does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

#: (which inputs need a gradient, the inputs, the cotangents of the outputs) -> the gradients of the inputs
Derivative = Callable[[Sequence[bool], tuple, tuple], tuple]


class Operator:
    """A function of tensors and constants, with its derivative.

    Args:
        name: its name in ``torch.ops.e3frame``.
        schema: its arguments and results, as ``torch.library.define`` takes them; the first is a tensor.
        run: what it does on the CPU.
        fake: empty results of the right shapes.
        derivative: made of operators, so that it can be differentiated again. Cotangents may be None.
    """

    def __init__(
        self, name: str, schema: str, run: Callable[..., Any], fake: Callable[..., Any], derivative: Derivative
    ) -> None:
        def run_here(*inputs: Any) -> Any:
            _check_devices(name, [item for item in inputs if isinstance(item, Tensor)])
            return run(*inputs)

        self.run = run_here
        full = f"e3frame::{name}"
        torch.library.define(full, schema)
        torch.library.impl(full, "CPU")(run_here)
        torch.library.register_fake(full)(fake)

        def keep(ctx: Any, inputs: tuple, output: Any) -> None:
            _keep(ctx, inputs)

        def backward(ctx: Any, *cotangents: Tensor | None) -> tuple:
            if all(cotangent is None for cotangent in cotangents):
                return (None,) * len(ctx.places)
            return derivative(ctx.needs_input_grad, _kept(ctx), cotangents)

        def forward(ctx: Any, *inputs: Any) -> Any:
            _check_devices(name, _keep(ctx, inputs))
            return run(*inputs)

        torch.library.register_autograd(full, backward, setup_context=keep)
        self._op = getattr(torch.ops.e3frame, name).default
        members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
        self._function = type(name, (torch.autograd.Function,), members)

    def __call__(self, *inputs: Any) -> Any:
        if type(inputs[0]) not in (Tensor, nn.Parameter) or torch.compiler.is_compiling() or watched():
            return self._op(*inputs)
        try:
            return self._function.apply(*inputs) if torch.is_grad_enabled() else self.run(*inputs)
        except RuntimeError:
            # Batched gradients (is_grads_batched) hide a batch in a tensor; torch runs an operator once for each.
            if not any(isinstance(t, Tensor) and torch._C._functorch.is_legacy_batchedtensor(t) for t in inputs):
                raise
            return self._op(*inputs)


def watched() -> bool:
    """Whether a mode, such as an exporter's, or a transform, such as vmap, wants to see each operator."""
    return torch._C._len_torch_dispatch_stack() > 0 or torch._C._functorch.peek_interpreter_stack() is not None


def _check_devices(name: str, tensors: list[Tensor]) -> None:
    """The memory of another device is not to be touched from here."""
    for tensor in tensors:
        if not tensor.is_cpu:
            devices = sorted({tensor.device.type for tensor in tensors})
            raise ValueError(f"{name} needs all tensors on one device, got some on {' and some on '.join(devices)}")


def _keep(ctx: Any, inputs: tuple) -> list[Tensor]:
    """For the derivative, everything; the tensors among it."""
    tensors, ctx.places = [], []
    for item in inputs:
        tensor = isinstance(item, Tensor)
        ctx.places.append(None if tensor else (item,))
        if tensor:
            tensors.append(item)
    ctx.save_for_backward(*tensors)
    ctx.set_materialize_grads(False)
    return tensors


def _kept(ctx: Any) -> tuple:
    tensors = iter(ctx.saved_tensors)
    return tuple(next(tensors) if place is None else place[0] for place in ctx.places)

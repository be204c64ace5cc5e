"""Operators of torch that run native code: differentiable, and known to compilers.

A function runs in one of two ways: directly, which takes half the time per call, if `plain` says that this makes no
difference; otherwise as an operator of ``torch.library``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from operator import or_
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import DispatchKey, DispatchKeySet, _len_torch_function_stack
from torch._C import _dispatch_keys as _keys
from torch._C import _dispatch_tls_local_include_set as _tls
from torch.autograd import forward_ad

Values = tuple[Any, ...]
"""Tensors or None, and constants after the tensors."""
Derivative = Callable[[Sequence[bool], Values, Values], Values]
"""(which inputs need a gradient, the inputs, the cotangents of the outputs) -> the gradients of the inputs"""


def _others(*keys: DispatchKey) -> int:
    """The bits of all keys of torch's dispatcher but these."""
    return ~reduce(or_, (DispatchKeySet(key).raw_repr() for key in keys))


# The keys of the tensors and of the thread say what the dispatcher does besides calling an operator. These keys change
# nothing. All others do, including those added in later versions of torch: layouts, devices, lazy negation, subclasses,
# wrappers of transforms, modes and tracers.
_UNUSUAL = _others(DispatchKey.CPU, DispatchKey.ADInplaceOrView, DispatchKey.AutogradCPU, DispatchKey.AutocastCPU)
_WATCHERS = _others(DispatchKey.BackendSelect, DispatchKey.ADInplaceOrView)
_TENSORS = (Tensor, nn.Parameter)
_NEVER = (False,) * 16


def plain(tensors: Iterable[Any], optional: Iterable[bool] = _NEVER) -> bool:
    """Whether tensors may be passed to native code without the dispatcher of torch.

    They may if they are dense tensors in CPU memory without lazy negation, and no one intercepts operators: no mode
    (an exporter, a default device), no tracer, no transform (vmap), and no forward-mode derivative.

    Args:
        tensors: the arguments of an operator.
        optional: which of them may be None; arguments after the end of this sequence are ignored.
    """
    # Every call of an operator runs this: it asks only what torch answers fast.
    if _tls().raw_repr() & _WATCHERS or _len_torch_function_stack() or forward_ad._current_level >= 0:
        return False
    for tensor, missing in zip(tensors, optional):  # noqa: B905
        if type(tensor) not in _TENSORS:
            if tensor is None and missing:
                continue
            return False
        if _keys(tensor).raw_repr() & _UNUSUAL:
            return False
        simple = tensor.is_contiguous() and not tensor.storage_offset()
        if tensor.untyped_storage().nbytes() < (tensor.nbytes if simple else _end(tensor)):
            return False
    return True


def _end(tensor: Tensor) -> int:
    """The end of a tensor in its storage, in bytes. The storage may be smaller if it has been freed or resized."""
    if not tensor.numel():
        return 0
    steps = sum([(n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True)])
    return (int(tensor.storage_offset()) + steps + 1) * tensor.itemsize


class Operator:
    """A function of tensors and constants, with its derivative.

    Args:
        name: its name in ``torch.ops.e3frame``.
        schema: its arguments and results in the form of ``torch.library.define``: tensors, then constants.
        run: computes the results from dense tensors on the CPU.
        fake: returns empty results of the right shapes.
        derivative: computes gradients with operators, so that it can be differentiated again. Cotangents may be None.
    """

    def __init__(
        self, name: str, schema: str, run: Callable[..., Any], fake: Callable[..., Any], derivative: Derivative
    ) -> None:
        self.name, self.run = name, run
        full = f"e3frame::{name}"
        torch.library.define(full, schema)
        self._op = getattr(torch.ops.e3frame, name).default
        types = [str(argument.type) for argument in self._op._schema.arguments]
        self._optional = tuple(kind != "Tensor" for kind in types if "Tensor" in kind)
        count = self._count = len(self._optional)
        self._constants = tuple({"str": str, "int": int, "bool": bool}[kind] for kind in types[count:])

        def run_any(*inputs: Any) -> Any:
            _check(name, _given(name, inputs, self._optional))
            return run(*inputs)

        def fake_any(*inputs: Any) -> Any:
            _check_devices(name, _given(name, inputs, self._optional))
            return fake(*inputs)

        def keep(ctx: Any, inputs: Values, output: Any = None) -> None:
            """Save all inputs for the derivative."""
            ctx.save_for_backward(*inputs[:count])
            ctx.constants = inputs[count:]
            ctx.set_materialize_grads(False)

        def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:
            if all(cotangent is None for cotangent in cotangents):
                return (None,) * len(types)
            return derivative(ctx.needs_input_grad, (*ctx.saved_tensors, *ctx.constants), cotangents)

        def forward(ctx: Any, *inputs: Any) -> Any:
            keep(ctx, inputs)
            return run(*inputs)

        # For tensors of every kind, so that those which kernels cannot read give our error messages.
        torch.library.impl(full, "CompositeExplicitAutograd")(run_any)
        torch.library.impl(full, "NestedTensorCPU")(run_any)
        torch.library.register_fake(full)(fake_any)
        torch.library.register_autograd(full, backward, setup_context=keep)
        members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
        function: Any = type(name, (torch.autograd.Function,), members)
        # Function.apply looks for transforms and their wrappers first; `plain` has said that there are none.
        self._apply: Any = super(torch.autograd.Function, function).apply  # type: ignore[misc]  # function is Any

    def __call__(self, *inputs: Any) -> Any:
        if torch.compiler.is_dynamo_compiling() or not plain(inputs, self._optional):
            return self._op(*inputs)
        if tuple(map(type, inputs[self._count :])) != self._constants:
            return self._op(*inputs)  # which converts constants, or raises
        if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs[: self._count]):
            return self._apply(*inputs)
        return self.run(*inputs)


def _given(name: str, inputs: Values, optional: Sequence[bool]) -> list[Tensor]:
    """Return the tensors among the inputs; raise if one is missing, or if tangents would be lost."""
    if any(tensor is None and not missing for tensor, missing in zip(inputs, optional, strict=False)):
        raise TypeError(f"{name} needs tensors, got None for one of them")
    if forward_ad._current_level >= 0:
        raise RuntimeError(
            f"{name} has no forward-mode derivative: call the module that it belongs to, "
            "or set E3FRAME_BACKEND=reference"
        )
    return [tensor for tensor in inputs[: len(optional)] if tensor is not None]


def _check(name: str, tensors: list[Tensor]) -> None:
    """Raise a ValueError for tensors that torch passes on but kernels cannot read."""
    _check_devices(name, tensors)
    for tensor in tensors:
        if not tensor.is_cpu:
            raise ValueError(f"{name} runs on the CPU, got tensors on {tensor.device.type}")
        if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized:
            kind = "nested" if tensor.is_nested else tensor.dtype if tensor.is_quantized else tensor.layout
            raise ValueError(f"{name} needs dense tensors, got one that is {str(kind).removeprefix('torch.')}")
    require_memory(name, tensors)


def require_memory(name: str, tensors: Iterable[Any]) -> None:
    """Raise a ValueError if the memory of a tensor has been freed, which the operators of torch would read."""
    for tensor in tensors:
        if (
            type(tensor) in _TENSORS
            and torch._C._has_storage(tensor)
            and tensor.untyped_storage().nbytes() < _end(tensor)
        ):
            raise ValueError(f"{name} got a tensor of shape {tuple(tensor.shape)} whose memory has been freed")


def _check_devices(name: str, tensors: list[Tensor]) -> None:
    """Raise a ValueError if tensors are on several devices."""
    devices = sorted({tensor.device.type for tensor in tensors})
    if len(devices) > 1:
        raise ValueError(f"{name} needs all tensors on one device, got some on {' and some on '.join(devices)}")

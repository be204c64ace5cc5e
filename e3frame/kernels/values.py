"""Checks whether the numbers of a tensor can be read, and whether compilers or transforms watch the operators."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad


def has_values(x: Tensor) -> bool:
    """Whether the numbers in x can be read: not for compilers, exporters and transforms, nor on the meta device."""
    return not x.is_meta and not is_watched() and not torch._C._functorch.is_legacy_batchedtensor(x)


def is_watched() -> bool:
    """Whether a compiler, an exporter, a mode or a transform intercepts operators."""
    if torch.compiler.is_compiling():
        return True
    return torch._C._len_torch_dispatch_stack() > 0 or torch._C._functorch.peek_interpreter_stack() is not None


def has_tangents() -> bool:
    """Whether tensors may have tangents: within forward-mode differentiation."""
    return forward_ad._current_level >= 0

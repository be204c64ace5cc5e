"""Whether what a tensor holds can be looked at."""

from __future__ import annotations

import torch
from torch import Tensor


def has_values(x: Tensor) -> bool:
    """Whether x holds numbers here and now: not for compilers, exporters, transforms, nor on the meta device."""
    if torch.compiler.is_compiling() or x.is_meta:
        return False
    watched = torch._C._len_torch_dispatch_stack() > 0 or torch._C._functorch.peek_interpreter_stack() is not None
    return not watched and not torch._C._functorch.is_legacy_batchedtensor(x)

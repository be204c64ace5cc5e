"""Exact constants as tensors.

A constant is a float64 array that is cast where it is used. It is not a buffer: ``module.float()`` would round it, and
``.double()`` could not restore the lost digits.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from e3frame.kernels.values import is_watched

Device: TypeAlias = torch.device | str | None


def as_floating(x: Tensor) -> Tensor:
    """Return x, cast to the default dtype if it holds integers, to which constants could not be cast."""
    return x if x.is_floating_point() or x.is_complex() else x.to(torch.get_default_dtype())


def floating_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """Return ``dtype``, or the default dtype if it is None.

    Raises:
        ValueError: the type is not floating-point.
    """
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if not dtype.is_floating_point and not dtype.is_complex:
        raise ValueError(f"a floating-point dtype is required, got {dtype}")
    return dtype


def as_tensor(array: NDArray[Any], dtype: torch.dtype | None = None, device: Device = None) -> Tensor:
    """Return a new tensor with the numbers of ``array``, rounded once, to ``dtype`` (the default dtype if None).

    Complex arrays become the complex type of ``dtype``; integers become int64 if that is the type.

    Raises:
        ValueError: the type is not floating-point.
    """
    if dtype is not torch.int64 or array.dtype.kind != "i":
        dtype = floating_dtype(dtype)
    if np.iscomplexobj(array):
        dtype = dtype.to_complex()
    return torch.tensor(array, dtype=dtype, device=device)


Function = TypeVar("Function", bound=Callable[..., Any])


def known_to_compilers(function: Function) -> Function:
    """Mark a function whose results compilers may treat as constants.

    Does what ``torch.compiler.assume_constant_result`` does, without importing the compiler, which takes a second.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def constant(compute: Callable[..., NDArray[Any]], shared: bool = False) -> Callable[..., Tensor]:
    """Turn a cached function ``(*key) -> array`` into a function ``(*key, dtype, device) -> Tensor``.

    A compiler embeds the numbers in its graph: it cannot read a function that computes them, and a tensor embedded as
    such would have a variable shape under ``dynamic=True``.

    Args:
        shared: on devices other than the CPU return one tensor for all calls, to which callers must not write; a copy
            from the host at each call would make it wait for the device.
    """
    kept: dict[tuple[Hashable, ...], Tensor] = {}

    @known_to_compilers
    def values(*key: Hashable) -> list[float]:
        return compute(*key).ravel().tolist()

    @known_to_compilers
    def shape(*key: Hashable) -> tuple[int, ...]:
        return compute(*key).shape

    def load(*key: Hashable, dtype: torch.dtype | None, device: Device) -> Tensor:
        if torch.compiler.is_dynamo_compiling():
            return torch.tensor(values(*key), dtype=dtype, device=device).view(shape(*key))
        if not shared or device is None or torch.device(device).type == "cpu" or is_watched():
            return as_tensor(compute(*key), dtype, device)
        place = (*key, dtype, device)
        if place not in kept:
            with torch.inference_mode(False):  # later calls may need it outside of inference mode
                kept[place] = as_tensor(compute(*key), dtype, device)
        return kept[place]

    return load

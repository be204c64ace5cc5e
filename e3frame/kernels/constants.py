"""Exact constants as tensors.

A constant is kept as a float64 array and cast where it is used. It is not a buffer: a buffer would be rounded with its
module by ``.float()``, and ``.double()`` could not bring the lost digits back.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Device: TypeAlias = torch.device | str | None


def as_floating(x: Tensor) -> Tensor:
    """x itself, or in the default dtype where it holds integers: constants cast to these would be cut."""
    return x if x.is_floating_point() or x.is_complex() else x.to(torch.get_default_dtype())


def floating_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """The type of constants that a caller asks for, by default the default dtype.

    Raises:
        ValueError: a type that holds no fractions.
    """
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if not dtype.is_floating_point and not dtype.is_complex:
        raise ValueError(f"a floating-point dtype is required, got {dtype}")
    return dtype


def as_tensor(array: NDArray[Any], dtype: torch.dtype | None = None, device: Device = None) -> Tensor:
    """A fresh tensor of ``array``, rounded once, to ``dtype`` (the default dtype if None).

    Complex arrays become the complex type of ``dtype``.

    Raises:
        ValueError: a type that holds no fractions.
    """
    dtype = floating_dtype(dtype)
    if np.iscomplexobj(array):
        dtype = dtype.to_complex()
    return torch.tensor(array, dtype=dtype, device=device)


Function = TypeVar("Function", bound=Callable[..., Any])


def known_to_compilers(function: Function) -> Function:
    """Compilers take what it returns for a constant: ``torch.compiler.assume_constant_result``, which would import the
    compiler, and that takes a second, for whoever compiles nothing."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def constant(compute: Callable[..., NDArray[np.float64]]) -> Callable[..., Tensor]:
    """The function ``(*key, dtype, device) -> Tensor`` of a cached function ``(*key) -> array``.

    A compiler embeds the numbers in its graph: it cannot read a function that computes them, and a tensor embedded as
    such would have a variable shape under ``dynamic=True``.
    """

    @known_to_compilers
    def values(*key: Hashable) -> list[float]:
        return compute(*key).ravel().tolist()

    @known_to_compilers
    def shape(*key: Hashable) -> tuple[int, ...]:
        return compute(*key).shape

    def load(*key: Hashable, dtype: torch.dtype | None, device: Device) -> Tensor:
        if torch.compiler.is_dynamo_compiling():
            return torch.tensor(values(*key), dtype=dtype, device=device).view(shape(*key))
        return as_tensor(compute(*key), dtype, device)

    return load

"""Device and floating-point type of a model, from the names that users write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from e3frame.config.header import WEIGHTS
from e3frame.spec.base import shown
from e3frame.spec.errors import UserError, did_you_mean, nearest

Device = torch.device | str

_DTYPES = {name: getattr(torch, name) for name in WEIGHTS}
_SHORT = {
    **dict.fromkeys(("fp64", "f64", "double", "64", "float"), "float64"),
    **dict.fromkeys(("fp32", "f32", "single", "32"), "float32"),
    **dict.fromkeys(("fp16", "f16", "half", "16"), "float16"),
    **dict.fromkeys(("bf16", "brain"), "bfloat16"),
}
"""Other names of the types."""


def read_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """The floating-point type of a name.

    Raises:
        UserError: no model can have this type.
    """
    name = str(dtype).removeprefix("torch.").strip()
    if name in _DTYPES and isinstance(dtype, torch.dtype | str):
        return _DTYPES[name]
    plain = getattr(dtype, "__name__", name).lower()
    match = _SHORT.get(plain) or nearest(plain, WEIGHTS)
    hint = f"did you mean {match}?\n  " if match else ""
    raise UserError(f"dtype={shown(name)}: no such floating-point type\n  {hint}known: {', '.join(WEIGHTS)}")


def read_device(device: Device) -> torch.device:
    """The device of a name.

    Raises:
        UserError: the name is unknown, or this machine has no such device.
    """
    there = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        there.append("mps")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        hint = did_you_mean(str(device), dict.fromkeys([*there, "cuda"]), "devices here")
        raise UserError(f"device={shown(str(device))}: no such device\n  {hint}") from None
    named = f"{found.type}:{found.index or 0}" if found.type == "cuda" else found.type
    if named not in there or (found.type != "cuda" and found.index):
        why = "" if found.type != "cuda" or torch.cuda.is_available() else ", or torch cannot use it"
        raise UserError(f"device={found}: this machine has none{why}\n  devices here: {', '.join(there)}")
    return found


@contextmanager
def without_modes(device: torch.device) -> Iterator[None]:
    """Switch off the modes of torch that a caller may have set and that change how a model runs: inference mode,
    autocast, and a default device."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))  # derivatives need autograd
        if torch.is_autocast_enabled(device.type):
            stack.enter_context(torch.autocast(device.type, enabled=False))
        if torch.get_default_device().type != "cpu":  # only then: native kernels avoid modes
            stack.enter_context(torch.device("cpu"))
        yield

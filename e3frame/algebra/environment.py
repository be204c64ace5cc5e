"""Environment variables that choose kernels. Imports no torch, so that a wrong value is reported before any work."""

from __future__ import annotations

import os

from e3frame.algebra.errors import EnvironmentVariableError

BACKENDS = ("auto", "native", "cuequivariance", "reference")
INSTRUCTION_SETS = ("base", "avx2", "avx512")


def wanted_backend() -> str:
    """Return ``E3FRAME_BACKEND``: ``auto`` (the default) for all backends in turn, or the name of one of them."""
    return _choice("E3FRAME_BACKEND", BACKENDS) or "auto"


def wanted_instruction_set() -> str | None:
    """Return ``E3FRAME_ISA``, the best instruction set that native kernels may use, or None if it is not set."""
    return _choice("E3FRAME_ISA", INSTRUCTION_SETS)


def check_environment() -> None:
    """Raise EnvironmentVariableError if a variable has an unknown value."""
    wanted_backend()
    wanted_instruction_set()


def _choice(name: str, choices: tuple[str, ...]) -> str | None:
    value = os.environ.get(name)
    if not value or value in choices:
        return value or None
    raise EnvironmentVariableError(f"{name} must be one of {', '.join(choices)}; got {value!r}")

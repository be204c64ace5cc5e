"""Environment variables that choose kernels. Imports no torch, so that a wrong value is reported before any work."""

from __future__ import annotations

import os
from collections.abc import Collection

from e3frame.algebra.errors import EnvironmentVariableError

BACKENDS = ("auto", "native", "cuequivariance", "reference")
"""What ``E3FRAME_BACKEND`` may be without a plugin."""
INSTRUCTION_SETS = ("base", "avx2", "avx512")


def wanted_backend() -> str:
    """Return ``E3FRAME_BACKEND``: ``auto`` (the default) for all backends in turn, or the name of one of them, which
    may be one that a plugin registers."""
    return os.environ.get("E3FRAME_BACKEND") or "auto"


def wanted_instruction_set() -> str | None:
    """Return ``E3FRAME_ISA``, the best instruction set that native kernels may use, or None if it is not set."""
    return _choice("E3FRAME_ISA", INSTRUCTION_SETS)


def unknown_backend(known: Collection[str]) -> EnvironmentVariableError:
    """Return the error for an ``E3FRAME_BACKEND`` that is not known."""
    problem = f"E3FRAME_BACKEND must be one of {', '.join(known)}; got {wanted_backend()!r}"
    return EnvironmentVariableError(
        f"{problem}\n  the backend of a plugin is known once the plugin is named: plugins=NAME"
    )


def check_environment(plugins: bool = False) -> None:
    """Raise EnvironmentVariableError if a variable has an unknown value.

    Args:
        plugins: whether plugins are to be imported, which may register the backend; `e3frame.kernels` then checks it.
    """
    if not plugins and wanted_backend() not in BACKENDS:
        raise unknown_backend(BACKENDS)
    wanted_instruction_set()


def _choice(name: str, choices: tuple[str, ...]) -> str | None:
    value = os.environ.get(name)
    if not value or value in choices:
        return value or None
    raise EnvironmentVariableError(f"{name} must be one of {', '.join(choices)}; got {value!r}")

"""e3frame: declarative, statically typed E(3)-equivariant neural networks for molecules.

Importing the package imports nothing heavy; ``load_model`` and ``check`` are resolved when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from e3frame.version import __version__ as __version__

if TYPE_CHECKING:
    from e3frame.inference.saved import load_model as load_model
    from e3frame.model import ModelSpec as ModelSpec

_LAZY = {"load_model": "e3frame.inference.saved", "ModelSpec": "e3frame.model"}
__all__ = ["ModelSpec", "load_model"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'e3frame' has no attribute {name!r}")

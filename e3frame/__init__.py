"""e3frame: declarative, statically typed E(3)-equivariant neural networks for molecules.

>>> import e3frame
>>> e3frame.check("nequip", data="sample")  # doctest: +SKIP
>>> model = e3frame.build("nequip", species=["H", "C", "O"])  # doctest: +SKIP
>>> result = e3frame.train("nequip", data="train.xyz", **{"trainer.max_epochs": 5})  # doctest: +SKIP
>>> model = e3frame.load_model(result.model)  # doctest: +SKIP

Importing the package imports nothing heavy: its functions are found when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from e3frame.version import __version__ as __version__

if TYPE_CHECKING:
    from e3frame.api import build as build
    from e3frame.api import check as check
    from e3frame.api import train as train
    from e3frame.inference.saved import load_model as load_model
    from e3frame.model import ModelSpec as ModelSpec
    from e3frame.spec.errors import UserError as UserError

_LAZY = {
    "ModelSpec": "e3frame.model",
    "UserError": "e3frame.spec.errors",
    "build": "e3frame.api",
    "check": "e3frame.api",
    "load_model": "e3frame.inference.saved",
    "train": "e3frame.api",
}
__all__ = ["ModelSpec", "UserError", "build", "check", "load_model", "train"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'e3frame' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])

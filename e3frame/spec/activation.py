"""Activations in YAML: one name, or one per parity."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from e3frame.algebra.activations import ACTIVATIONS
from e3frame.spec.base import AlsoWritten, Spec, mistake
from e3frame.spec.errors import did_you_mean


def _known(name: str) -> str:
    if name not in ACTIVATIONS:
        raise mistake(f"no activation is named {name}", did_you_mean(name, ACTIVATIONS))
    return name


ActivationName = Annotated[str, AfterValidator(_known)]


class ByParity(Spec):
    """One activation per parity of the scalars."""

    e: ActivationName = "silu"
    """Activation of 0e scalars."""
    o: ActivationName = "tanh"
    """Activation of 0o scalars: an odd function (result 0o) or an even one (result 0e)."""

    def of(self, p: int) -> str:
        return self.e if p == 1 else self.o


def _one_for_both(raw: Any) -> Any:
    return {"e": raw, "o": raw} if isinstance(raw, str) else raw


Activations = Annotated[
    ByParity, BeforeValidator(_one_for_both), AlsoWritten({"type": "string", "enum": list(ACTIVATIONS)})
]

"""How large a batch is: a number of frames, or what fits into a budget of atoms or of edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from e3frame.spec.base import Spec, mistake, shown


class Budget(Spec):
    """Limit of a batch, which takes as many frames as fit, so that all need about the same memory and time. One of:"""

    atoms: int | None = Field(default=None, ge=1)
    """Atoms of a batch, at most."""
    edges: int | None = Field(default=None, ge=1)
    """Pairs of neighbours of a batch, both directions counted, at most; time and memory go with them."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Budget:
        if (self.atoms is None) == (self.edges is None):
            given = "neither" if self.atoms is None else f"both: atoms {self.atoms}, edges {self.edges}"
            raise mistake(f"atoms or edges is required, got {given}", "for example {atoms: 500} or {edges: 10000}")
        return self

    @property
    def unit(self) -> str:
        """Unit that is counted: atoms or edges."""
        return "edges" if self.atoms is None else "atoms"

    @property
    def limit(self) -> int:
        """Largest number of this unit."""
        return getattr(self, self.unit)


def _batch_size(raw: Any, info: ValidationInfo) -> Any:
    """Validate by hand, as a union would report an error for each of its types."""
    if isinstance(raw, Mapping):
        return Budget.model_validate(raw, context=info.context)
    if isinstance(raw, Budget):
        return raw
    if not isinstance(raw, int) or isinstance(raw, bool):
        raise mistake(
            f"a number of frames, or a budget, is required, got {shown(raw)}",
            "for example 8, {atoms: 500} or {edges: 10000}",
        )
    if raw < 1:
        raise mistake(f"must be >= 1, got {raw}")
    return raw


BatchSize = Annotated[int | Budget, BeforeValidator(_batch_size)]
"""``8``, ``{atoms: 500}`` or ``{edges: 10000}``."""

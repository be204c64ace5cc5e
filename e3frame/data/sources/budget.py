"""Batch size: a number of frames, or a budget of atoms or edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from e3frame.spec.base import Spec, mistake, shown


class Budget(Spec):
    """Budget of a batch: as many frames as fit, so that all batches need about the same memory and time. Set one of:"""

    atoms: int | None = Field(default=None, ge=1)
    """Largest number of atoms in a batch."""
    edges: int | None = Field(default=None, ge=1)
    """Largest number of edges in a batch (each pair of neighbours counts twice); time and memory are proportional to
    it."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Budget:
        if (self.atoms is None) == (self.edges is None):
            given = "neither" if self.atoms is None else f"both: atoms {self.atoms}, edges {self.edges}"
            raise mistake(f"atoms or edges is required, got {given}", "for example {atoms: 500} or {edges: 10000}")
        return self

    @property
    def unit(self) -> str:
        """Unit of the budget: atoms or edges."""
        return "edges" if self.atoms is None else "atoms"

    @property
    def limit(self) -> int:
        """Largest number of atoms or edges per batch."""
        return getattr(self, self.unit)


def _batch_size(raw: Any, info: ValidationInfo) -> Any:
    """Validate by hand, because a union reports an error for each of its types."""
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

"""What the reductions from nodes to graphs share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, TypeAdapter, WithJsonSchema, WrapValidator

from e3frame.spec.base import AlsoWritten, Spec, mistake, shown
from e3frame.spec.elements import Element
from e3frame.spec.errors import SpecError
from e3frame.spec.irreps import IrrepsField
from e3frame.spec.layer import BATCH, NUM_GRAPHS, SPECIES, Binding, Field, LayerSpec, Scope, Signature, auto
from e3frame.spec.reach import require_claim

if TYPE_CHECKING:
    from torch import nn

_PER_SPECIES: TypeAdapter[dict[str, float]] = TypeAdapter(dict[Element, float])


def _number_or_mapping(raw: Any, number: Callable[[Any], float]) -> Any:
    if isinstance(raw, Mapping):
        return _PER_SPECIES.validate_python(raw)
    try:
        return number(raw)
    except ValueError:
        raise mistake(f"a number or a mapping such as {{H: 1.0}} is required, got {shown(raw)}") from None


PerSpecies = Annotated[
    float,
    WrapValidator(_number_or_mapping),
    PlainSerializer(lambda given: dict(given) if isinstance(given, Mapping) else given),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "object", "additionalProperties": {"type": "number"}}]}),
]


class ScaleShift(Spec):
    """``scale x + shift`` of each atom, by its species; constants, not trained."""

    scale: auto(PerSpecies, lambda statistics: statistics.energy_scale) = "auto"  # type: ignore[valid-type]
    """One number, or one for each species. ``auto``: root mean square of the training forces."""
    shift: auto(PerSpecies, lambda statistics: statistics.energy_shift) = "auto"  # type: ignore[valid-type]
    """One number, or one for each species. ``auto``: least squares of the training energies on the compositions."""

    def values(self, species: tuple[str, ...]) -> tuple[list[float], list[float]]:
        """Scale and shift of each species."""
        return tuple(  # type: ignore[return-value]
            [given[symbol] if isinstance(given, Mapping) else float(given) for symbol in species]
            for given in (self.scale, self.shift)
        )

    def require_all(self, species: tuple[str, ...]) -> None:
        for key, given in (("scale", self.scale), ("shift", self.shift)):
            missing = [symbol for symbol in species if symbol not in given] if isinstance(given, Mapping) else []
            if missing:
                raise SpecError(
                    ("per_species_scale_shift", key),
                    f"the model's species are {', '.join(species)}: no {key} for {', '.join(missing)}",
                )


def _auto_both(raw: Any) -> Any:
    return {} if raw == "auto" else raw


class Pooling(LayerSpec):
    """Nodes to graphs. Sums run in float64, so that large total energies keep their small differences."""

    of: str | None = None
    """Field per node to read; the latest where none is named."""
    per_species_scale_shift: (
        Annotated[ScaleShift, BeforeValidator(_auto_both), AlsoWritten({"const": "auto"})] | None
    ) = None
    """``auto``, or ``{scale: ..., shift: ...}``; only for one even scalar."""
    irreps_out: IrrepsField | None = None
    """What the result should be; checked where given."""

    def infer(self, scope: Scope) -> Signature:
        x = scope.read(self.of, "node", "of")
        require_claim(self.irreps_out, x.irreps, f"'{x.name}'")
        if self.per_species_scale_shift is not None:
            self._check_scale_shift(x, scope)
        return Signature((x.key, SPECIES, BATCH, NUM_GRAPHS), Field(x.irreps, "graph"))

    def build(self, scope: Scope) -> nn.Module:
        from e3frame.nn.reduce import Pool
        from e3frame.nn.scale_shift import PerSpeciesScaleShift

        scale_shift = None
        if self.per_species_scale_shift is not None:
            scale_shift = PerSpeciesScaleShift(*self.per_species_scale_shift.values(scope.species))
        return Pool(self.kind, scale_shift)

    def _check_scale_shift(self, x: Binding, scope: Scope) -> None:
        if x.irreps.dim != 1 or not x.irreps[0].ir.is_scalar():
            raise SpecError(
                ("per_species_scale_shift",),
                f"a shift keeps equivariance only on one even scalar, {x} is not",
                "leave it out, or read a field of irreps 0e",
            )
        if scope.species is not None:
            self.per_species_scale_shift.require_all(scope.species)

"""Scale and shift of atoms by species, as a key of the layers that pool atoms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, TypeAdapter, WithJsonSchema, WrapValidator

from e3frame.spec.base import AlsoWritten, Spec, mistake, shown
from e3frame.spec.elements import Element
from e3frame.spec.errors import SpecError, did_you_mean
from e3frame.spec.layer import auto

_PER_SPECIES: TypeAdapter[dict[str, float]] = TypeAdapter(dict[Element, float])


def _number_or_mapping(raw: Any, number: Callable[[Any], float]) -> Any:
    if isinstance(raw, Mapping):
        return _PER_SPECIES.validate_python(raw)
    try:
        return number(raw)
    except ValueError:
        raise mistake(f"expected a number or a mapping such as {{H: 1.0}}, got {shown(raw)}") from None


PerSpecies = Annotated[
    float,
    WrapValidator(_number_or_mapping),
    PlainSerializer(lambda given: dict(given) if isinstance(given, Mapping) else given),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "object", "additionalProperties": {"type": "number"}}]}),
]


class ScaleShift(Spec):
    """``scale x + shift`` of each atom, by species; constants that are not trained."""

    scale: auto(PerSpecies, lambda statistics: statistics.energy_scale) = "auto"  # type: ignore[valid-type]
    """One number, or one per species. ``auto``: root mean square of the training forces."""
    shift: auto(PerSpecies, lambda statistics: statistics.energy_shift) = "auto"  # type: ignore[valid-type]
    """One number, or one per species. ``auto``: least squares fit of the training energies to the compositions."""

    def values(self, species: tuple[str, ...]) -> tuple[list[float], list[float]]:
        """Return the scales and the shifts of these species."""
        return _of_each(self.scale, species), _of_each(self.shift, species)

    def require_all(self, species: tuple[str, ...]) -> None:
        """Raise SpecError if a species has no scale or no shift."""
        for key, given in (("scale", self.scale), ("shift", self.shift)):
            missing = [symbol for symbol in species if symbol not in given] if isinstance(given, Mapping) else []
            if missing:
                raise SpecError(
                    ("per_species_scale_shift", key),
                    f"{key} lacks {', '.join(missing)}; the model's species are {', '.join(species)}",
                )


def _of_each(given: Mapping[str, float] | float, species: tuple[str, ...]) -> list[float]:
    return [given[symbol] if isinstance(given, Mapping) else float(given) for symbol in species]


def _auto_both(raw: Any) -> Any:
    if isinstance(raw, str) and raw != "auto":
        hint = did_you_mean(raw, ("auto",)) if raw.strip().lower() == "auto" else None
        raise mistake(f"must be auto, or a scale and a shift; got {shown(raw)}", hint)
    return {} if raw == "auto" else raw


AutoScaleShift = Annotated[ScaleShift, BeforeValidator(_auto_both), AlsoWritten({"const": "auto"})]
"""Type of a key ``per_species_scale_shift``: ``auto``, or a scale and a shift."""

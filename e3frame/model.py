"""A model as written in YAML: parsed, type-checked, and built.

Nothing here imports torch until :meth:`ModelSpec.build`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationInfo, field_validator

import e3frame.layers  # noqa: F401  (registers every kind)
from e3frame.algebra.irreps import Irreps
from e3frame.layers.edge_vectors import EdgeVectors
from e3frame.spec import plugins as plugin_modules
from e3frame.spec.base import Spec, mistake, mistake_at
from e3frame.spec.elements import ATOMIC_NUMBERS, Element
from e3frame.spec.errors import SpecError
from e3frame.spec.irreps import IrrepsField, Symmetry
from e3frame.spec.layer import (
    POS,
    STRAIN,
    Binding,
    LayerSpec,
    Name,
    NamedLayers,
    Scope,
    Step,
    TensorType,
    auto,
    fold,
    input_key,
    resolve,
)
from e3frame.spec.limits import PARAMETERS, R_MAX
from e3frame.spec.quantities import RESERVED
from e3frame.spec.statistics import Statistics

if TYPE_CHECKING:
    from e3frame.network import Model


def _layers(raw: Any, info: ValidationInfo) -> Any:
    """Parse layers with the model's named irreps as context."""
    context = {**(info.context or {}), "irreps": info.data.get("irreps", {})}
    return _LAYERS.validate_python(raw, context=context)


_LAYERS: TypeAdapter[dict[str, LayerSpec]] = TypeAdapter(NamedLayers)
Layers = Annotated[NamedLayers, BeforeValidator(_layers)]


class ModelSpec(Spec):
    """Named layers and the outputs that are read from them."""

    plugins: tuple[str, ...] = ()
    """Plugins that define kinds of layers: entry points of the group ``e3frame.plugins``, or modules. A module that is
    not an entry point is imported only if the user also names it: ``plugins=my_layers`` on the command line."""
    symmetry: Symmetry = "O(3)"
    """``O(3)``: rotations and inversion. ``SO(3)``: rotations alone. All irreps are then written as even (1e for a
    vector), and the energy of a mirror image may differ."""
    r_max: float = Field(gt=0, le=R_MAX)
    """Cutoff radius of the graph in Å."""
    species: auto(Annotated[tuple[Element, ...], Field(min_length=1)], lambda s: s.species) = "auto"  # type: ignore[valid-type]
    """Chemical symbols of the model; ``auto``: those of the training data."""
    irreps: dict[Name, IrrepsField] = Field({})
    """Names for irreps, for use wherever irreps are written; later ones can use earlier ones."""
    inputs: dict[Name, IrrepsField] = Field({})
    """Values that each frame has besides its structure, one per graph, with their irreps: ``total_charge: 0e``,
    ``electric_field: 1o``. Layers read them by name; ``data.keys.<name>`` is their key in the data."""
    layers: Layers
    """Layers in the order in which they run."""
    outputs: Layers
    """Results of the model, by name; each is a layer that can read all fields, and the outputs before it."""

    @field_validator("plugins", mode="after")
    @classmethod
    def _import(cls, plugins: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        try:
            plugin_modules.load(plugins, (info.context or {}).get("plugins", ()))
        except SpecError as error:
            raise mistake(error.problem, error.hint) from None
        return plugins

    @field_validator("inputs", mode="after")
    @classmethod
    def _names_of_inputs(cls, inputs: dict[str, Irreps]) -> dict[str, Irreps]:
        for name in inputs:
            if name in RESERVED:
                raise mistake_at(name, name, mistake(f"'{name}' is a reserved name; rename this input"))
        return inputs

    @field_validator("species", mode="after")
    @classmethod
    def _once(cls, species: tuple[str, ...] | str) -> tuple[str, ...] | str:
        twice = next((s for s, n in Counter(species).items() if n > 1), None) if species != "auto" else None
        if twice is not None:
            raise mistake(f"{twice} is listed twice")
        return species

    @field_validator("irreps", mode="before")
    @classmethod
    def _in_order(cls, raw: Any, info: ValidationInfo) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        named: dict[str, Irreps] = {}
        for name, text in raw.items():
            entry = _IRREPS.validate_python({name: text}, context={**(info.context or {}), "irreps": dict(named)})
            named.update(entry)
        return named

    @field_validator("outputs", mode="after")
    @classmethod
    def _distinct(cls, outputs: dict[str, LayerSpec], info: ValidationInfo) -> dict[str, LayerSpec]:
        for name in outputs:
            if name in info.data.get("layers", {}):
                wrong = mistake(f"'{name}' is also the name of a layer", "rename one of them", at_key=True)
                raise mistake_at(name, None, wrong)
        return outputs

    def typed(self, num_species: int | None = None) -> TypedModel:
        """Type-check the whole model.

        Args:
            num_species: number of species to assume while they are ``auto``; None: 1.

        Raises:
            SpecError: a layer is ill-typed; its path is that of the first one.
        """
        known = None if self.species == "auto" else self.species
        scope = Scope(self.r_max, len(known) if known else (num_species or 1), known, symmetry=self.symmetry)
        for name, irreps in self.inputs.items():
            try:
                scope.require_irreps(name, irreps)
            except SpecError as error:
                raise error.under("inputs") from None
            scope = scope.bind(Binding(name, input_key(name), TensorType(irreps, "graph")))
        layers = self.layers
        if not any(layer.gives_edge_vectors for layer in layers.values()):
            layers = {"edge_vectors": EdgeVectors(), **layers}
        scope, steps = fold(layers, scope, ("layers",))
        scope, outputs = fold(self.outputs, scope, ("outputs",))
        steps += outputs
        _require_room(steps)
        _require_positions(steps)
        named = {name: scope.bindings[name] for name in self.outputs}
        return TypedModel(self, tuple(steps), named, _warnings(steps, named, self.inputs))

    def resolve(self, statistics: Statistics) -> ModelSpec:
        """Return the model with every ``auto`` replaced by its value from the training data."""
        return resolve(self, statistics)

    def build(self) -> Model:
        """Build the torch module, with random weights."""
        from e3frame.network import Model

        return Model(self)


_IRREPS: TypeAdapter[dict[str, Irreps]] = TypeAdapter(dict[Name, IrrepsField])


@dataclass(frozen=True)
class TypedModel:
    """A well-typed model.

    Attributes:
        spec: the model as written.
        steps: the layers in the order in which they run, each with the type of its result.
        outputs: fields that the model returns, by name.
        warnings: probable mistakes: unused layers, and irreps that no path uses.
    """

    spec: ModelSpec
    steps: tuple[Step, ...]
    outputs: Mapping[str, Binding]
    warnings: tuple[SpecError, ...] = ()

    @property
    def num_parameters(self) -> int:
        return sum(step.num_parameters for step in self.steps)


def _warnings(steps: Sequence[Step], outputs: Mapping[str, Binding], inputs: Collection[str]) -> tuple[SpecError, ...]:
    read = {key for step in steps for key in step.signature.read} | {binding.key for binding in outputs.values()}
    found = [
        SpecError(step.path, f"nothing reads '{step.binding.name}'", "remove this layer, or use it", at_key=True)
        for step in steps
        if step.binding.key not in read
    ]
    found += [
        SpecError(("inputs", name), f"nothing reads '{name}'", "remove this input, or use it in a layer", at_key=True)
        for name in inputs
        if input_key(name) not in read
    ]
    for step in steps:
        found += [SpecError((*step.path, key), text) for key, text in step.signature.warnings]
    return tuple({(error.path, error.problem): error for error in found}.values())


def _require_room(steps: Sequence[Step]) -> None:
    """Raise SpecError at the first layer with which the model has too many weights.

    If the species come from data that are not read yet, all elements are counted where necessary.
    """
    total = 0
    for step in steps:
        number = step.num_parameters
        if step.scope.species is None and number * len(ATOMIC_NUMBERS) > PARAMETERS:
            number = step.spec.num_parameters(replace(step.scope, num_species=len(ATOMIC_NUMBERS)))
        total += number
        if total > PARAMETERS:
            problem = f"{number:,} weights in this layer, {total:,} up to here: at most {PARAMETERS:,} are allowed"
            raise SpecError(step.path, problem, "use fewer irreps, smaller layers or fewer rounds")


def _require_positions(steps: Sequence[Step]) -> None:
    """Raise SpecError for a derivative of a quantity that does not depend on the positions, which is zero."""
    sources: dict[str, set[str]] = {}
    for step in steps:
        read = step.signature.read
        sources[step.binding.key] = set(read).union(*(sources.get(key, set()) for key in read))
        moves = {gradient.of for gradient in step.signature.gradients if gradient.wrt in (POS, STRAIN)}
        if any(POS not in sources.get(key, set()) for key in moves):
            raise SpecError(
                (*step.path, "of"),
                "this quantity does not depend on the positions: its derivative is zero",
                "make a layer before it read edge_vectors, spherical_harmonics or radial_basis",
            )

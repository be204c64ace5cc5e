"""Layers as the type checker sees them: specs that read fields and write one.

A model is a fold over named layers. The checker threads a :class:`Scope` through them; each layer's ``infer`` says
which tensors its module is called with and the type of what it returns, and ``build`` makes that module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, WrapSerializer, WrapValidator
from pydantic import Field as PydanticField

from e3frame.algebra.irreps import Irreps
from e3frame.spec.base import AlsoWritten, Spec, mistake, shown
from e3frame.spec.elements import SYMBOLS
from e3frame.spec.errors import PathKey, SpecError, did_you_mean
from e3frame.spec.irreps import too_large
from e3frame.spec.limits import LAYERS, PATHS
from e3frame.spec.registry import Kinded, OneOf
from e3frame.spec.statistics import Statistics

if TYPE_CHECKING:
    from torch import nn

    from e3frame.algebra.paths import ProductPlan
    from e3frame.spec.scale_shift import ScaleShift

Domain = Literal["node", "edge", "graph"]

# What every graph brings along; layers name these beside the fields in their Signature.inputs.
POS, SPECIES, BATCH = "graph.pos", "graph.species", "graph.batch"
EDGE_INDEX, EDGE_SHIFT = "graph.edge_index", "graph.edge_shift"
DTYPE = "graph.dtype"
"""The type of the model's numbers. Positions, shifts, cells and strains are float64, so that their differences do not
depend on where a molecule stands; a layer that reads them gives what it has computed of them in this type."""
EDGE_PAIRS = "graph.edge_pairs"
"""The row of each edge in inputs that have one row for an edge and its reverse (``Signature.per_pair``)."""
NUM_GRAPHS = "graph.num_graphs"
CELL, STRAIN = "graph.cell", "graph.strain"
"""Lattice vectors (g, 3, 3); a strain of zero that positions and shifts depend on, for derivatives."""
CREATE_GRAPH = "graph.create_graph"
"""Whether the caller differentiates what the model returns."""

RESERVED = frozenset(
    [
        "pos",
        "z",
        "edge_index",
        "edge_shift",
        "edges",
        "cell",
        "pbc",
        "frame",
        "file",
        "group",
        "batch",
        "ptr",
        "slices",
        "num_graphs",
        "num_nodes",
    ]
)
"""Keys of graphs and batches, which cannot be names of labels or inputs."""


def input_key(name: str) -> str:
    """The key of an input that a frame has besides its structure, such as its total charge."""
    return f"graph.inputs.{name}"


@dataclass(frozen=True)
class Field:
    """The type of a tensor: ``(num nodes | edges | graphs, irreps.dim)``."""

    irreps: Irreps
    domain: Domain
    per_species: bool = field(default=False, compare=False)
    """Whether nodes of one species have the same value, so that results can be computed once per species."""
    reversal: Literal[-1, 0, 1] = field(default=0, compare=False)
    """Value of the reverse of an edge: the same (1), the opposite (-1), or any (0). If a layer's result is marked 1,
    the layer must compute each edge from that edge alone, because it runs on one of the two only."""

    def __str__(self) -> str:
        return f"{self.irreps} per {self.domain}"


@dataclass(frozen=True)
class Binding:
    """A field under the name the user gave it. ``key`` is unique in the model, also inside a repeat."""

    name: str
    key: str
    field: Field

    @property
    def irreps(self) -> Irreps:
        return self.field.irreps

    @property
    def domain(self) -> Domain:
        return self.field.domain

    def __str__(self) -> str:
        return f"'{self.name}' ({self.irreps})"


@dataclass(frozen=True)
class Signature:
    """The call ``output = module(*inputs)``.

    Attributes:
        inputs: keys of fields (``Binding.key``) and of the graph's own tensors, in the order of ``forward``.
        output: type of the result.
        warnings: what is allowed but probably not meant, each with the key of the spec it concerns.
        differentiates: graph tensors with respect to which the module takes derivatives; it must retain the graph
            (``retain_graph=True``), from which other layers derive as well.
        per_pair: those inputs that the module takes once for an edge and its reverse, where they are the same for both
            (``Field.reversal``), with ``EDGE_PAIRS`` to tell the row of each edge, or None where they come per edge.
    """

    inputs: tuple[str, ...]
    output: Field
    warnings: tuple[tuple[str, str], ...] = ()
    differentiates: tuple[str, ...] = ()
    per_pair: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scope:
    """The fields written so far, in order, and the cutoff and species of the model."""

    r_max: float
    num_species: int
    species: tuple[str, ...] | None = None
    bindings: Mapping[str, Binding] = field(default_factory=dict)

    def bind(self, binding: Binding) -> Scope:
        rest = {name: known for name, known in self.bindings.items() if name != binding.name}
        return replace(self, bindings={**rest, binding.name: binding})

    def read(self, name: str | None, domain: Domain | None, at: str) -> Binding:
        """The field called ``name``, or without a name the most recent one of that domain.

        Args:
            name: as the user wrote it.
            domain: required domain, None for any.
            at: the key of the spec that names it, for the message.
        """
        if name is None:
            return self._latest(domain or "node", at)
        if name not in self.bindings:
            raise SpecError((at,), f"no field is called '{name}'", did_you_mean(name, self.bindings, "fields so far"))
        binding = self.bindings[name]
        if domain is not None and binding.domain != domain:
            others = [known.name for known in self.bindings.values() if known.domain == domain]
            hint = f"{domain} fields so far: {', '.join(others)}" if others else f"no {domain} field is written before"
            raise SpecError((at,), f"a field per {domain} is required, '{name}' is {binding.field}", hint)
        return binding

    def _latest(self, domain: Domain, at: str) -> Binding:
        found = [binding for binding in self.bindings.values() if binding.domain == domain]
        if not found:
            raise SpecError((at,), f"no field per {domain} is written before this layer", _first_step(domain))
        return found[-1]


def _first_step(domain: Domain) -> str:
    if domain == "node":
        return "begin with a species_embedding"
    return "write one first" if domain == "graph" else "write edge_vectors, spherical_harmonics or radial_basis first"


@dataclass(frozen=True)
class Step:
    """One layer in its place in the fold."""

    binding: Binding
    path: PathKey
    spec: LayerSpec
    scope: Scope
    signature: Signature

    @property
    def num_parameters(self) -> int:
        return self.spec.num_parameters(self.scope)

    def build(self) -> nn.Module:
        return self.spec.build(self.scope)


class LayerSpec(Kinded, family="layer"):
    """A layer as written in YAML. A subclass in ``e3frame/layers`` (or in a plugin) is all a new layer takes."""

    saved = True
    example: ClassVar[str]
    """The layer as YAML, in a model that has what it reads; documentation shows it, the tests over all kinds run it."""
    equation: ClassVar[str] = ""
    """What the layer computes, in LaTeX; its page in the documentation shows it."""
    variants: ClassVar[tuple[str, ...]] = ()
    """More of the same, one for each option that changes what is computed; for the tests."""

    derives: ClassVar[str | None] = None
    """Name of the quantity (``e3frame.spec.quantities``) that this layer derives from the energy ``of``, such as
    ``forces``; None for a layer that takes no derivative."""
    gives_edge_vectors: ClassVar[bool] = False
    """Whether the result is the vector of each edge; a model without such a layer begins with ``edge_vectors``."""

    @property
    def extensive(self) -> bool | None:
        """Whether the layer pools atoms into their graph by a sum (True) or a mean (False); None if it does not pool.

        If the module of a sum has a method ``of_nodes(x, species)``, the share of each atom, calculators return the
        energies of the atoms as well.
        """
        return None

    @property
    def scale_shift(self) -> ScaleShift | None:
        """Scale and shift of each atom before it is pooled, which the key ``per_species_scale_shift`` holds; None if
        there are none."""
        return None

    @property
    def source(self) -> str | None:
        """Name of the field that the layer reads, where the key ``of`` gives it."""
        return getattr(self, "of", None)

    def infer(self, scope: Scope) -> Signature:
        """The call that this layer makes and the type of its result.

        Raises:
            SpecError: with the path of the offending key inside this layer.
        """
        raise NotImplementedError(f"{type(self).__name__}.infer")

    def num_parameters(self, scope: Scope) -> int:
        """Number of trainable parameters of the built module. Where a plugin does not say it, it is counted; layers
        of e3frame, which are checked without torch, have none then."""
        return 0 if type(self).__module__.startswith("e3frame.") else _counted(self, scope)

    def build(self, scope: Scope) -> nn.Module:
        """The torch module; called only after ``infer`` went well on the same scope."""
        raise NotImplementedError(f"{type(self).__name__}.build")

    def product_plan(self, scope: Scope) -> ProductPlan | None:
        """The tensor product that the layer computes, to draw its paths; None where there is none."""
        return None

    @property
    def num_steps(self) -> int:
        """Layers that this one is unrolled to. Containers override this."""
        return 1

    def thread(self, name: str, key: str, path: PathKey, scope: Scope) -> tuple[Scope, list[Step]]:
        """Add this layer to the fold: the scope after it, and its steps. Containers override this."""
        try:
            signature = self.infer(scope)
            problem = too_large(signature.output.irreps)
            if problem is not None:
                raise SpecError((), f"the result of this layer is too large: {problem}")
        except SpecError as error:
            raise error.under(*path) from None
        binding = Binding(name, key, signature.output)
        return scope.bind(binding), [Step(binding, path, self, scope, signature)]


def _counted(layer: LayerSpec, scope: Scope) -> int:
    """Parameters of the module of a layer, built without memory for them, with any species and statistics."""
    import torch

    species = scope.species or tuple(SYMBOLS[1 : scope.num_species + 1])
    zeros = dict.fromkeys(species, 0.0)
    any_data = Statistics(species=species, energy_shift=zeros, energy_scale=1.0, avg_num_neighbors=1.0)
    with torch.device("meta"):
        module = resolve(layer, any_data).build(replace(scope, species=species))
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


class OneInput(LayerSpec):
    """A layer that reads one field of any domain."""

    of: str | None = None
    """Field to read; the latest field per node where none is named."""

    def read_one(self, scope: Scope) -> Binding:
        return scope.read(self.of, None if self.of else "node", "of")


_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


def _identifier(name: str) -> str:
    if not _IDENTIFIER.fullmatch(name):
        raise mistake(f"a name is letters, digits and _, and begins with no digit; got {shown(name)}", at_key=True)
    return name


Name = Annotated[str, AfterValidator(_identifier)]
NamedLayers = Annotated[dict[Name, OneOf[LayerSpec]], PydanticField(min_length=1)]


def require_few_paths(at: str, *irreps: Irreps) -> None:
    """Raise SpecError where a product of so many terms takes too long to plan."""
    combinations = prod(map(len, irreps))
    if combinations > PATHS:
        counts = " x ".join(f"{len(terms):,}" for terms in irreps)
        hint = "write fewer terms: 8x0e in place of 1x0e + 1x0e + ..."
        raise SpecError((at,), f"{counts} combinations of terms, at most {PATHS:,} are allowed", hint)


def fold(layers: Mapping[str, LayerSpec], scope: Scope, path: PathKey, prefix: str = "") -> tuple[Scope, list[Step]]:
    """Thread the scope through named layers in order."""
    steps: list[Step] = []
    number = sum(layer.num_steps for layer in layers.values())
    if number > LAYERS:
        largest = max(layers, key=lambda name: layers[name].num_steps)
        problem = f"a model has at most {LAYERS} layers, these are {number:,} with all repeats"
        raise SpecError((*path, largest), problem, at_key=True)
    for name, spec in layers.items():
        scope, added = spec.thread(name, prefix + name, (*path, name), scope)
        steps += added
    return scope, steps


@dataclass(frozen=True)
class FromData:
    """Marks a field whose ``auto`` is answered by the statistics of the training data."""

    answer: Callable[[Statistics], Any]


def auto(kind: Any, answer: Callable[[Statistics], Any]) -> Any:
    """The type of a field that takes ``auto`` or a value of type ``kind``."""
    return Annotated[
        kind,
        WrapValidator(lambda value, handler: value if value == "auto" else handler(value)),
        WrapSerializer(lambda value, handler: value if value == "auto" else handler(value)),
        FromData(answer),
        AlsoWritten({"const": "auto"}),
    ]


def resolve(spec: Any, statistics: Statistics) -> Any:
    """The spec with each ``auto`` replaced by what the statistics say, all the way down."""
    if isinstance(spec, Mapping):
        return {key: resolve(value, statistics) for key, value in spec.items()}
    if not isinstance(spec, Spec):
        return spec
    changes = {}
    for name, info in type(spec).model_fields.items():
        value = getattr(spec, name)
        answers = [mark for mark in info.metadata if isinstance(mark, FromData)]
        changes[name] = answers[0].answer(statistics) if answers and value == "auto" else resolve(value, statistics)
    return spec.replace(**changes)


def unresolved(spec: Any, path: PathKey = ()) -> Iterator[PathKey]:
    """Where a spec still says ``auto`` for what the training data would answer."""
    if isinstance(spec, Mapping):
        for key, value in spec.items():
            yield from unresolved(value, (*path, key))
    elif isinstance(spec, Spec):
        for name, info in type(spec).model_fields.items():
            value = getattr(spec, name)
            if value == "auto" and any(isinstance(mark, FromData) for mark in info.metadata):
                yield (*path, name)
            yield from unresolved(value, (*path, name))

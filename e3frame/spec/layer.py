"""Base class of layers: a spec that reads fields, the tensors of a model, and writes one.

A model is a fold over named layers. The checker threads a :class:`Scope` through them; each layer's ``infer`` returns
the inputs of its module and the type of its result, and ``build`` creates the module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, WrapSerializer, WrapValidator

from e3frame.algebra.irreps import Irreps
from e3frame.spec.base import AlsoWritten, Spec, mistake, shown
from e3frame.spec.elements import SYMBOLS
from e3frame.spec.errors import PathKey, SpecError, did_you_mean
from e3frame.spec.irreps import Symmetry, too_large, under
from e3frame.spec.limits import LAYERS, PATHS
from e3frame.spec.registry import Kinded, OneOf
from e3frame.spec.statistics import Statistics

if TYPE_CHECKING:
    from torch import nn

    from e3frame.algebra.paths import ProductPlan
    from e3frame.spec.scale_shift import ScaleShift

Domain = Literal["node", "edge", "graph"]

# Tensors of every graph, which layers can name in Signature.inputs besides fields.
POS, SPECIES, BATCH = "graph.pos", "graph.species", "graph.batch"
EDGE_INDEX, EDGE_SHIFT = "graph.edge_index", "graph.edge_shift"
DTYPE = "graph.dtype"
"""Data type of the model. Positions, shifts, cells and strains stay float64, so that differences do not depend on the
location of a molecule; layers that read them return this type."""
EDGE_PAIRS = "graph.edge_pairs"
"""Row of each edge in inputs that have one row for an edge and its reverse (``Signature.per_pair``)."""
NUM_GRAPHS = "graph.num_graphs"
CELL, STRAIN = "graph.cell", "graph.strain"
"""Lattice vectors (g, 3, 3); a zero strain on which positions and shifts depend, for derivatives."""


def input_key(name: str) -> str:
    """Return the key of a model input, such as the total charge."""
    return f"graph.inputs.{name}"


@dataclass(frozen=True)
class TensorType:
    """Type of a tensor: irreps and domain; its shape is (num nodes, edges or graphs, irreps.dim)."""

    irreps: Irreps
    domain: Domain
    per_species: bool = field(default=False, compare=False)
    """Whether all nodes of a species have equal values, so that results can be computed once per species."""
    reversal: Literal[-1, 0, 1] = field(default=0, compare=False)
    """Sign under reversal of the edge: equal (1), opposite (-1), or unrelated (0). A layer with result 1 must compute
    each edge independently, because only one of the two is computed."""

    def __str__(self) -> str:
        return f"{self.irreps} per {self.domain}"


@dataclass(frozen=True)
class Binding:
    """Named field. ``key`` is unique in the model, also inside repeats."""

    name: str
    key: str
    field: TensorType

    @property
    def irreps(self) -> Irreps:
        return self.field.irreps

    @property
    def domain(self) -> Domain:
        return self.field.domain

    def __str__(self) -> str:
        return f"'{self.name}' ({self.irreps})"


@dataclass(frozen=True)
class Gradient:
    """Input of a module: the gradient of a field per graph, summed over its entries, with respect to a tensor.

    All gradients of one field are computed in one backward pass, when a layer first reads one of them. A gradient has
    the shape of ``wrt``, and is zero if the field does not depend on it.
    """

    of: str
    """Key of the field (``Binding.key``)."""
    wrt: str
    """Key of a tensor: ``POS``, ``STRAIN``, an input of the model (`input_key`), or a field that is computed before."""


@dataclass(frozen=True)
class Signature:
    """The call ``output = module(*inputs)``.

    Attributes:
        inputs: keys of fields (``Binding.key``) and of tensors of the graph, and gradients of fields, in the order of
            ``forward``.
        output: type of the result.
        warnings: probable mistakes, as (key of the spec, message).
        per_pair: inputs that the module accepts once for an edge and its reverse if both are equal
            (``TensorType.reversal``). ``EDGE_PAIRS`` is the row of each edge, or None if they have a row per edge.
    """

    inputs: tuple[str | Gradient, ...]
    output: TensorType
    warnings: tuple[tuple[str, str], ...] = ()
    per_pair: tuple[str, ...] = ()

    @property
    def gradients(self) -> tuple[Gradient, ...]:
        """The inputs that are gradients."""
        return tuple(name for name in self.inputs if isinstance(name, Gradient))

    @property
    def read(self) -> tuple[str, ...]:
        """Keys of the fields and tensors that the result depends on; for a gradient, the field."""
        return tuple(name.of if isinstance(name, Gradient) else name for name in self.inputs)


@dataclass(frozen=True)
class Scope:
    """Fields available to a layer, in order, with the cutoff, species and symmetry of the model."""

    r_max: float
    num_species: int
    species: tuple[str, ...] | None = None
    bindings: Mapping[str, Binding] = field(default_factory=dict)
    symmetry: Symmetry = "O(3)"

    def irreps(self, irreps: Irreps) -> Irreps:
        """Return irreps of O(3) as those of the model's symmetry."""
        return under(irreps, self.symmetry)

    def require_irreps(self, key: str, irreps: Irreps) -> None:
        """Raise SpecError if irreps that a user has written have a parity that the model's symmetry lacks."""
        known = self.irreps(irreps)
        if known != irreps:
            problem = f"{irreps} has odd parity, but with symmetry: SO(3) nothing has a parity"
            raise SpecError((key,), problem, f"write {known}")

    def bind(self, binding: Binding) -> Scope:
        rest = {name: known for name, known in self.bindings.items() if name != binding.name}
        return replace(self, bindings={**rest, binding.name: binding})

    def read(self, name: str | None, domain: Domain | None, at: str) -> Binding:
        """Return the field named ``name``, or the latest field of the domain if it is None.

        Args:
            name: name of the field, or None.
            domain: required domain; None: any.
            at: key of the spec that names the field, for the message.

        Raises:
            SpecError: the field does not exist, or has another domain.
        """
        if name is None:
            return self._latest(domain or "node", at)
        if name not in self.bindings:
            raise SpecError((at,), f"no field is named '{name}'", did_you_mean(name, self.bindings, "fields so far"))
        binding = self.bindings[name]
        if domain is not None and binding.domain != domain:
            others = [known.name for known in self.bindings.values() if known.domain == domain]
            hint = f"fields per {domain} so far: {', '.join(others)}" if others else f"no field per {domain} exists yet"
            raise SpecError((at,), f"a field per {domain} is required, but '{name}' is {binding.field}", hint)
        return binding

    def _latest(self, domain: Domain, at: str) -> Binding:
        found = [binding for binding in self.bindings.values() if binding.domain == domain]
        if not found:
            raise SpecError((at,), f"no field per {domain} exists before this layer", _first_step(domain))
        return found[-1]


def _first_step(domain: Domain) -> str:
    if domain == "node":
        return "start the model with a species_embedding"
    kinds = "edge_vectors, spherical_harmonics or radial_basis"
    return "add a layer that writes one before it" if domain == "graph" else f"add {kinds} before it"


@dataclass(frozen=True)
class Step:
    """One typed layer of the unrolled model."""

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
    """A layer as written in YAML. A new layer is one subclass in ``e3frame/layers`` or in a plugin."""

    saved = True
    example: ClassVar[str]
    """Example in YAML, shown in the documentation and run by the tests."""
    equation: ClassVar[str] = ""
    """Equation of the layer in LaTeX, shown in the documentation."""
    variants: ClassVar[tuple[str, ...]] = ()
    """Further examples, one per option that changes the result; for the tests."""

    derives: ClassVar[str | None] = None
    """Name of the quantity (``e3frame.spec.quantities``) that this layer derives from the energy ``of``, such as
    ``forces``; None for a layer that takes no derivative."""
    gives_edge_vectors: ClassVar[bool] = False
    """Whether the result is the vector of each edge; a model without such a layer starts with ``edge_vectors``."""

    @property
    def extensive(self) -> bool | None:
        """Whether the layer pools atoms into their graph by a sum (True) or a mean (False); None if it does not pool.

        If the module of a sum has a method ``of_nodes(x, species)`` that returns the contribution of each atom,
        calculators also return the energies of the atoms. Fields per node that the layer reads after the first are
        passed after ``species``.
        """
        return None

    @property
    def scale_shift(self) -> ScaleShift | None:
        """Scale and shift of each atom before pooling, the key ``per_species_scale_shift``; None if there are none."""
        return None

    @property
    def source(self) -> str | None:
        """Name of the field that the layer reads, given by the key ``of``, or None."""
        return getattr(self, "of", None)

    def infer(self, scope: Scope) -> Signature:
        """Return the inputs of this layer's module and the type of its result.

        Raises:
            SpecError: the layer is ill-typed; its path is that of the wrong key inside this layer.
        """
        raise NotImplementedError(f"{type(self).__name__}.infer")

    def num_parameters(self, scope: Scope) -> int:
        """Return the number of trainable parameters of the module.

        For plugins that do not define it, the parameters of the built module are counted; for e3frame's own layers,
        which are checked without torch, it is 0.
        """
        return 0 if type(self).__module__.startswith("e3frame.") else _counted(self, scope)

    def build(self, scope: Scope) -> nn.Module:
        """Build the torch module; called only after ``infer`` has succeeded on the same scope."""
        raise NotImplementedError(f"{type(self).__name__}.build")

    def product_plan(self, scope: Scope) -> ProductPlan | None:
        """Return the tensor product of the layer, to draw its paths, or None."""
        return None

    @property
    def num_steps(self) -> int:
        """Number of layers after unrolling. Containers override this."""
        return 1

    def thread(self, name: str, key: str, path: PathKey, scope: Scope) -> tuple[Scope, list[Step]]:
        """Add this layer to the model; return the new scope and the steps. Containers override this."""
        try:
            for written in type(self).model_fields:
                if isinstance(value := getattr(self, written), Irreps):
                    scope.require_irreps(written, value)
            signature = self.infer(scope)
            output = replace(signature.output, irreps=scope.irreps(signature.output.irreps))
            signature = replace(signature, output=output)
            problem = too_large(signature.output.irreps)
            if problem is not None:
                raise SpecError((), f"the output of this layer is too large: {problem}")
        except SpecError as error:
            raise error.under(*path) from None
        binding = Binding(name, key, signature.output)
        return scope.bind(binding), [Step(binding, path, self, scope, signature)]


def _counted(layer: LayerSpec, scope: Scope) -> int:
    """Count the parameters of a layer's module, built without memory for them, with arbitrary statistics."""
    import torch

    species = scope.species or tuple(SYMBOLS[1 : scope.num_species + 1])
    zeros = dict.fromkeys(species, 0.0)
    any_data = Statistics(species=species, energy_shift=zeros, energy_scale=1.0, avg_num_neighbors=1.0)
    with torch.device("meta"):
        module = resolve(layer, any_data).build(replace(scope, species=species))
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


class OneInput(LayerSpec):
    """Layer that reads one field of any domain."""

    of: str | None = None
    """Field to read; default: the latest field per node."""

    def read_one(self, scope: Scope) -> Binding:
        return scope.read(self.of, None if self.of else "node", "of")


_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


def _identifier(name: str) -> str:
    if not _IDENTIFIER.fullmatch(name):
        raise mistake(
            f"a name has letters, digits and _, and does not start with a digit; got {shown(name)}", at_key=True
        )
    return name


Name = Annotated[str, AfterValidator(_identifier)]
NamedLayers = Annotated[dict[Name, OneOf[LayerSpec]], Field(min_length=1)]


def require_few_paths(at: str, *irreps: Irreps) -> None:
    """Raise SpecError if a product has too many combinations of terms to plan."""
    combinations = prod(map(len, irreps))
    if combinations > PATHS:
        counts = " x ".join(f"{len(terms):,}" for terms in irreps)
        hint = "write fewer terms: 8x0e instead of 1x0e + 1x0e + ..."
        problem = f"the product has {counts} combinations of terms, at most {PATHS:,} are allowed"
        raise SpecError((at,), problem, hint)


def fold(layers: Mapping[str, LayerSpec], scope: Scope, path: PathKey, prefix: str = "") -> tuple[Scope, list[Step]]:
    """Thread the scope through named layers in order."""
    steps: list[Step] = []
    number = sum(layer.num_steps for layer in layers.values())
    if number > LAYERS:
        largest = max(layers, key=lambda name: layers[name].num_steps)
        problem = f"a model has at most {LAYERS} layers, got {number:,} after unrolling repeats"
        raise SpecError((*path, largest), problem, at_key=True)
    for name, spec in layers.items():
        scope, added = spec.thread(name, prefix + name, (*path, name), scope)
        steps += added
    return scope, steps


@dataclass(frozen=True)
class FromData:
    """Marks a field whose ``auto`` comes from the statistics of the training data."""

    answer: Callable[[Statistics], Any]


def auto(kind: Any, answer: Callable[[Statistics], Any]) -> Any:
    """Return the type of a field that takes ``auto`` or a value of type ``kind``."""
    return Annotated[
        kind,
        WrapValidator(lambda value, handler: value if value == "auto" else handler(value)),
        WrapSerializer(lambda value, handler: value if value == "auto" else handler(value)),
        FromData(answer),
        AlsoWritten({"const": "auto"}),
    ]


def resolve(spec: Any, statistics: Statistics) -> Any:
    """Return the spec with each ``auto``, at any depth, replaced by its statistic."""
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
    """Yield the paths of values that are still ``auto``."""
    if isinstance(spec, Mapping):
        for key, value in spec.items():
            yield from unresolved(value, (*path, key))
    elif isinstance(spec, Spec):
        for name, info in type(spec).model_fields.items():
            value = getattr(spec, name)
            if value == "auto" and any(isinstance(mark, FromData) for mark in info.metadata):
                yield (*path, name)
            yield from unresolved(value, (*path, name))

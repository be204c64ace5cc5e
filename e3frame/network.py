"""The model as a torch module: runs on tensors the fold that ``ModelSpec.typed`` runs on types."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from e3frame.model import ModelSpec
from e3frame.nn.geometry import edge_pairs
from e3frame.nn.gradient import detached, has_tangents, strained
from e3frame.nn.species import SpeciesIndex
from e3frame.spec.elements import ATOMIC_NUMBERS
from e3frame.spec.errors import SpecError, UserError
from e3frame.spec.layer import (
    BATCH,
    CELL,
    DTYPE,
    EDGE_INDEX,
    EDGE_PAIRS,
    EDGE_SHIFT,
    NUM_GRAPHS,
    POS,
    SPECIES,
    STRAIN,
    Gradient,
    Step,
    input_key,
)


class _Steps(nn.ModuleDict):
    """Modules by name. Names may equal those of methods of ``nn.ModuleDict`` (``train``, ``type``)."""

    def add_module(self, name: str, module: nn.Module | None) -> None:
        self._modules[name] = module  # type: ignore[assignment]  # torch declares modules as never None


Pairs = tuple[Tensor, Tensor]
"""Row of each edge, and one edge of each row: see `e3frame.nn.geometry.edge_pairs`."""
Change = Callable[[Any, Pairs], Any]


class _Paired:
    """Fields with equal values for an edge and its reverse, which are computed and stored once per pair of edges.

    Layers that read such fields receive them per edge, unless their signature accepts them per pair.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        edge = {step.binding.key for step in steps if step.binding.domain == "edge"}
        self.keys = {step.binding.key for step in steps if step.binding.field.reversal == 1} & edge
        # Conversion of each input of a step: from edges to pairs, or from pairs to edges.
        self.changes: dict[str, list[Change]] = {}
        for step in steps:
            changes = [self._change(step, name, edge) for name in step.signature.inputs]
            if any(change is not _as_it_is for change in changes):
                self.changes[step.binding.key] = changes

    def _change(self, step: Step, name: str | Gradient, edge: set[str]) -> Change:
        if isinstance(name, Gradient):
            return _as_it_is
        if name == EDGE_PAIRS:
            return _as_it_is if self.keys.intersection(step.signature.per_pair) else _nothing
        if step.binding.key in self.keys:
            if name == EDGE_INDEX:
                return _taken_index
            return _taken if name == EDGE_SHIFT or name in edge - self.keys else _as_it_is
        return _spread if name in self.keys and name not in step.signature.per_pair else _as_it_is

    def of(self, graph: Mapping[str, Tensor]) -> Pairs | None:
        """Return the pairs of a graph, or None if no field uses them."""
        if not self.keys:
            return None
        return edge_pairs(graph["edge_index"], graph["edge_shift"], graph["z"].shape[0])

    def given(self, key: str, values: list[Any], pairs: Pairs) -> list[Any]:
        """Convert the inputs of a step to edges or pairs, as the step needs them."""
        if key not in self.changes:
            return values
        return [change(value, pairs) for change, value in zip(self.changes[key], values, strict=True)]

    def per_edge(self, values: Mapping[str, Tensor], keys: Iterable[str], pairs: Pairs) -> dict[str, Tensor]:
        """Return those of the fields ``keys`` that are stored per pair, converted to one row per edge."""
        return {key: _spread(values[key], pairs) for key in keys if key in self.keys}


def _as_it_is(value: Any, pairs: Pairs) -> Any:
    return value


def _taken(value: Tensor, pairs: Pairs) -> Tensor:
    return value.index_select(0, pairs[1])


def _taken_index(value: Tensor, pairs: Pairs) -> Tensor:
    return value.index_select(1, pairs[1])


def _spread(value: Tensor, pairs: Pairs) -> Tensor:
    return value.index_select(0, pairs[0])


def _nothing(value: Any, pairs: Pairs) -> None:
    return None


class _Gradients:
    """Gradients that steps read. All those of one field come from one backward pass, before the first step that reads
    one of them."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.of: dict[str, list[Gradient]] = {}
        """Gradients by the key of their field, in the order in which the fields are differentiated."""
        self.before: list[tuple[str, ...]] = []
        """The fields that are differentiated before each step."""
        for step in steps:
            needed = dict.fromkeys(gradient.of for gradient in step.signature.gradients)
            self.before.append(tuple(key for key in needed if key not in self.of))
            for gradient in step.signature.gradients:
                known = self.of.setdefault(gradient.of, [])
                if gradient not in known:
                    known.append(gradient)
        self.wrt = frozenset(gradient.wrt for gradients in self.of.values() for gradient in gradients)
        """Keys of the tensors with respect to which fields are differentiated."""

    def take(self, key: str, values: Mapping[Any, Any], create_graph: bool) -> dict[Gradient, Tensor]:
        """Differentiate the field ``key``.

        Args:
            values: the fields and tensors so far.
            create_graph: whether the gradients can be differentiated again.
        """
        gradients = self.of[key]
        found = torch.autograd.grad(
            values[key].sum(),
            [values[gradient.wrt] for gradient in gradients],
            create_graph=create_graph,
            retain_graph=create_graph or key != next(reversed(self.of)),  # otherwise it is freed on the way
            allow_unused=True,
            materialize_grads=True,
        )
        return dict(zip(gradients, found, strict=True))


def _differentiable(x: Tensor) -> Tensor:
    return x if x.requires_grad else detached(x).requires_grad_()


def _ordinary(value: Any) -> Any:
    """Clone tensors created in inference mode, which cannot be differentiated; return other values unchanged."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


class Model(nn.Module):
    """Runs the layers of a spec on a graph, or on a batch of graphs.

    Args:
        spec: a spec without ``auto``.

    Raises:
        SpecError: the spec is ill-typed, or a value is still ``auto``.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        if spec.species == "auto":
            raise SpecError(
                ("species",), "species are still auto", "resolve the spec with the training data's statistics"
            )
        typed = spec.typed()
        self.spec = spec
        self.species_index = SpeciesIndex([ATOMIC_NUMBERS[symbol] for symbol in spec.species])
        self.layers = _Steps({step.binding.key: step.build() for step in typed.steps})
        self._paired, self._gradients = _Paired(typed.steps), _Gradients(typed.steps)
        self._calls = [
            (step.binding.key, step.signature.inputs, before)
            for step, before in zip(typed.steps, self._gradients.before, strict=True)
        ]
        self._outputs = {name: binding.key for name, binding in typed.outputs.items()}

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the weights and of all fields."""
        return next((p.dtype for p in self.parameters()), torch.get_default_dtype())

    def forward(self, graph: Mapping[str, Any], fields: Collection[str] = ()) -> dict[str, Tensor]:
        """Return the outputs by name. If gradients are enabled, derivatives among them can be differentiated again.

        Args:
            graph: ``pos`` (n, 3) Å, ``z`` (n,) atomic numbers, ``edge_index`` (2, e), ``edge_shift`` (e, 3) Å, for
                several graphs ``batch`` (n,) with ``num_graphs``, for a stress ``cell`` (g, 3, 3) Å, and the spec's
                ``inputs`` (g, components) by their names.
            fields: keys of layers per node or graph whose results are returned as well.

        Raises:
            UserError: an input is missing or has the wrong size; or ``torch.jit.trace`` meets a derivative.
            ValueError: an element is not among the model's species (checked on the CPU only).
        """
        if self._gradients.wrt and torch.is_inference_mode_enabled():  # derivatives need an autograd graph
            with torch.inference_mode(False), torch.no_grad():
                return self.forward({key: _ordinary(value) for key, value in graph.items()}, fields)
        outer = torch.is_grad_enabled()
        tracing = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]  # which torch does not type
        if self._gradients.wrt and tracing:
            raise UserError("torch.jit.trace cannot trace derivatives such as forces: trace a model without them")
        with torch.set_grad_enabled(outer or bool(self._gradients.wrt)):
            values: dict[Any, Any] = self._inputs(graph)
            create_graph = outer or has_tangents()
            pairs = self._paired.of(graph)
            values[EDGE_PAIRS] = None if pairs is None else pairs[0]
            for key, inputs, differentiated in self._calls:
                for field in differentiated:
                    values |= self._gradients.take(field, values, create_graph)
                given = [values[name] for name in inputs]
                values[key] = self.layers[key](*(given if pairs is None else self._paired.given(key, given, pairs)))
            if pairs is not None:
                values |= self._paired.per_edge(values, self._outputs.values(), pairs)
        outputs = {name: values[key] for name, key in self._outputs.items()} | {key: values[key] for key in fields}
        return outputs if outer else {name: detached(value) for name, value in outputs.items()}

    def _inputs(self, graph: Mapping[str, Any]) -> dict[str, Any]:
        pos, edge_shift = graph["pos"].double(), graph["edge_shift"].double()
        batch, num_graphs = graph.get("batch"), graph.get("num_graphs", 1)
        batch = torch.zeros_like(graph["z"]) if batch is None else batch
        if POS in self._gradients.wrt:
            pos = _differentiable(pos)
        cell, strain = graph.get("cell"), pos.new_zeros(num_graphs, 3, 3)
        if STRAIN in self._gradients.wrt:
            strain.requires_grad_()
            pos = strained(pos, strain, batch)
            edge_shift = strained(edge_shift, strain, batch.index_select(0, graph["edge_index"][1]))
        return {
            POS: pos,
            SPECIES: self.species_index.checked(graph["z"]),
            EDGE_INDEX: graph["edge_index"],
            EDGE_SHIFT: edge_shift,
            CELL: pos.new_zeros(num_graphs, 3, 3) if cell is None else cell.double(),
            STRAIN: strain,
            BATCH: batch,
            NUM_GRAPHS: num_graphs,
            DTYPE: self.dtype,
            **{input_key(name): self._input(name, graph, num_graphs) for name in self.spec.inputs},
        }

    def _input(self, name: str, graph: Mapping[str, Any], num_graphs: int) -> Tensor:
        irreps, value = self.spec.inputs[name], graph.get(name)
        if value is None or value.numel() != num_graphs * irreps.dim:
            given = "it is missing" if value is None else f"its shape is {tuple(value.shape)}"
            raise UserError(f"the model needs the input {name}, {irreps} for each of {num_graphs} graphs: {given}")
        value = value.to(self.dtype).reshape(num_graphs, irreps.dim)
        return _differentiable(value) if input_key(name) in self._gradients.wrt else value

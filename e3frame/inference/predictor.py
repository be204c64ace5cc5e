"""A saved model as a function from atoms to arrays; forces, stress and energies of atoms follow from its energy."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Batch

from e3frame.config.output_units import factors
from e3frame.data.pipeline.edge_labels import images
from e3frame.data.pipeline.graphs import Graph, make_graph, model_input
from e3frame.inference.device import Device, read_device
from e3frame.inference.inputs import FrameInputs
from e3frame.inference.saved import SavedModel, cartesian_outputs
from e3frame.io.cartesian import CartesianTensor
from e3frame.layers.negative_gradient import NegativeGradient
from e3frame.layers.strain_gradient import StrainGradient
from e3frame.model import ModelSpec, TypedModel
from e3frame.network import Model
from e3frame.spec.elements import ATOMIC_NUMBERS, SYMBOLS, require_elements
from e3frame.spec.errors import DataError, SpecError
from e3frame.spec.quantities import QUANTITIES, quantity_of

ENERGY = "energy"
"""The output that is an energy, from which ``forces``, ``stress`` and ``energies`` are derived."""
ENERGIES = "energies"
"""ASE's name of the energies of the atoms, which are no output of a model."""


class Predictor:
    """A saved model that takes atoms and returns NumPy arrays.

    Args:
        model, device, dtype, plugins: as for :func:`e3frame.load_model`.
        keys: for an input of the model, the key of ``atoms.info`` that holds it; by default the name of the input, or
            ``charge`` for ``total_charge``.

    Attributes:
        outputs: types of the model's outputs and of the quantities derived from its energy.
        names: names of these, and of the energies of atoms.
        factors: factors from the units of the training to eV, Å and e.

    Raises:
        UserError: the model cannot be read, or a key is given for an unknown input.
    """

    def __init__(
        self,
        model: str | Path,
        device: Device = "cpu",
        dtype: torch.dtype | str | None = None,
        plugins: Collection[str] = (),
        keys: Mapping[str, str] | None = None,
    ) -> None:
        saved = SavedModel.read(model, plugins)
        self.inputs = FrameInputs(saved.spec.inputs, keys or {})
        spec = with_derivatives(saved.spec)
        typed = spec.typed()
        self.model, self.device = saved.build(device, dtype, spec), read_device(device)
        self.outputs = typed.outputs
        self.summands, self.pool = summands(typed, self.model)
        self.names = (*self.outputs, *([] if self.pool is None else [ENERGIES]))
        derived = {name: layer.derives for name, layer in spec.outputs.items() if layer.derives is not None}
        self.stresses = [name for name, quantity in derived.items() if QUANTITIES[quantity].per_volume]
        self.trained = set(saved.spec.outputs)
        self.factors = factors(spec.outputs, saved.task)
        self.factors[ENERGIES] = self.factors.get("energy", 1.0)
        self.cartesian = {name: CartesianTensor(f) for name, f in cartesian_outputs(spec, saved.task).items()}

    def graph(self, atoms: Atoms, file: str | None = None, frame: int | None = None) -> Graph:
        """The graph of ``atoms``.

        Args:
            file, frame: place of the atoms, for messages.

        Raises:
            DataError: there are no atoms, an element is unknown to the model, an input is missing, or the cell is
                invalid.
        """
        if len(atoms) == 0:
            raise DataError("no atoms", file=file, frame=frame)
        try:
            require_elements(atoms.numbers.tolist())
        except ValueError as error:
            raise DataError(str(error), file=file, frame=frame) from None
        species = self.model.spec.species
        unknown = sorted(set(atoms.numbers.tolist()) - {ATOMIC_NUMBERS[symbol] for symbol in species})
        if unknown:
            hint = f"it knows {', '.join(species)}"
            raise DataError(
                f"the model does not know {', '.join(SYMBOLS[n] for n in unknown)}", file=file, frame=frame, hint=hint
            )
        inputs = self.inputs.read(atoms, file, frame)
        try:
            return make_graph(atoms, self.model.spec.r_max, inputs)
        except ValueError as error:
            raise DataError(str(error), file=file, frame=frame) from error

    def run(
        self, graphs: Sequence[Graph], places: Sequence[tuple[str, int]] | None = None
    ) -> list[dict[str, NDArray[np.float64]]]:
        """Return the outputs of each graph: (components,) per graph, (atoms, components) per node.

        A Cartesian tensor has an axis of 3 for each index instead of components. Energies are in eV, forces in eV/Å and
        so on, whatever the units of the training; outputs of other names keep their units.

        A stress is left out if the cell has no volume or is not periodic; a stress that was not trained also if the
        cell is not periodic in all directions.

        Args:
            places: file and frame of each graph, for messages.

        Raises:
            DataError: an output is not finite.
        """
        batch = Batch.from_data_list(list(graphs)).to(self.device)
        fields = self.summands
        with torch.no_grad():
            outputs = self.model(model_input(batch, inputs=self.model.spec.inputs), fields)
            if self.pool is not None:
                x, *added = (outputs[key] for key in fields)
                outputs = {key: value for key, value in outputs.items() if key not in fields}
                outputs[ENERGIES] = self.pool.of_nodes(x, self.model.species_index(batch.z), *added)
        arrays = {name: self._shown(name, tensor).numpy() for name, tensor in outputs.items()}
        edges = torch.cumsum(torch.tensor([0, *(graph.edge_index.shape[1] for graph in graphs)]), 0).tolist()
        bounds = {"node": batch.ptr.tolist(), "edge": edges}
        found = []
        for k, graph in enumerate(graphs):
            values = {name: self._of_graph(name, array, k, bounds) for name, array in arrays.items()}
            values = {name: value for name, value in values.items() if self._has(name, graph)}
            _require_finite(values, places[k] if places is not None else (None, None))
            found.append(values)
        return found

    def _of_graph(
        self, name: str, array: NDArray[np.float64], k: int, bounds: Mapping[str, Sequence[int]]
    ) -> NDArray[np.float64]:
        domain = self.outputs[name].domain if name in self.outputs else "node"
        return array[k] if domain == "graph" else array[bounds[domain][k] : bounds[domain][k + 1]]

    def _has(self, name: str, graph: Graph) -> bool:
        if name not in self.stresses:
            return True
        periodic = graph.pbc.any() if name in self.trained else graph.pbc.all()
        return bool(periodic) and float(torch.linalg.det(graph.cell[0])) != 0

    def _shown(self, name: str, tensor: Tensor) -> Tensor:
        tensor = tensor.to("cpu", torch.float64) * self.factors.get(name, 1.0)
        return self.cartesian[name].to_cartesian(tensor) if name in self.cartesian else tensor


def _require_finite(values: Mapping[str, NDArray[np.float64]], place: tuple[str | None, int | None]) -> None:
    for name, value in values.items():
        if not np.isfinite(value).all():
            hint = "are atoms much too close, or is a number too large for the dtype of the model?"
            raise DataError(f"the model's {name} is not finite", file=place[0], frame=place[1], hint=hint)


def ase_name(name: str) -> str | None:
    """ASE's name of an output; None for an output that becomes an entry of ``info`` or ``arrays``."""
    if name == ENERGIES:
        return ENERGIES
    quantity = quantity_of(name)
    return None if quantity is None else quantity.ase


def as_ase(name: str, value: NDArray[np.float64]) -> NDArray[np.float64] | float:
    """A result in ASE's form: a number, the six Voigt components (xx, yy, zz, yz, xz, xy) of a stress, or an array."""
    quantity = quantity_of(name)
    if value.shape == (3, 3) and quantity is not None and quantity.per_volume:
        return full_3x3_to_voigt_6_stress(value)
    if name == ENERGIES or (quantity is not None and (quantity.per, quantity.shape) == ("node", ())):
        return value.reshape(-1)
    return value.item() if value.shape == (1,) else value


def edges_of(atoms: Atoms, graph: Graph) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """(e, 2) atoms of each edge, source first, and (e, 3) images of the sources; None if the atoms are not periodic."""
    index = graph.edge_index.numpy().T
    return index, images(graph.edge_shift.numpy(), atoms) if atoms.pbc.any() else None


def with_derivatives(spec: ModelSpec) -> ModelSpec:
    """The model with forces and stress as further outputs, if it has an energy and lacks them."""
    added = {"forces": NegativeGradient(of=ENERGY), "stress": StrainGradient(of=ENERGY)}
    new = {name: layer for name, layer in added.items() if name not in spec.outputs and name not in spec.layers}
    derived = spec.replace(outputs={**spec.outputs, **new})
    if ENERGY not in spec.outputs or not new:
        return spec
    try:
        derived.typed()
    except SpecError:  # no energy: several numbers, one that changes sign under inversion, or one without positions
        return spec
    return derived


@runtime_checkable
class SharedPool(Protocol):
    """A module that pools atoms and tells the share of each."""

    def of_nodes(self, x: Tensor, species: Tensor, *added: Tensor) -> Tensor: ...


def summands(typed: TypedModel, model: Model) -> tuple[tuple[str, ...], SharedPool | None]:
    """The keys of the fields per atom whose sum is the energy, and the module that adds them up; none if the energy is
    no sum, or its module does not tell the share of each atom."""
    nodes = {step.binding.key for step in typed.steps if step.binding.domain == "node"}
    for step in typed.steps:
        if ENERGY in typed.outputs and step.binding.key == typed.outputs[ENERGY].key:
            pool = model.layers[step.binding.key]
            if step.spec.extensive and step.binding.irreps.dim == 1 and isinstance(pool, SharedPool):
                return tuple(key for key in step.signature.read if key in nodes), pool
    return (), None

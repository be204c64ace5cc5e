"""A model run on the structures of files."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import write_extxyz
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Batch

from e3frame.config.output_units import factors
from e3frame.data.formats.ase_files import read_frames, stated_units
from e3frame.data.formats.stated_units import combined
from e3frame.data.pipeline.edge_labels import images
from e3frame.data.pipeline.graphs import Graph, checked, make_graph, model_input
from e3frame.files.opened import require_file
from e3frame.files.regular import require_new
from e3frame.files.written import rewritten
from e3frame.inference.derived import summand, with_derivatives
from e3frame.inference.device import Device, read_device, without_modes
from e3frame.inference.inputs import FrameInputs
from e3frame.inference.saved import SavedModel, cartesian_outputs
from e3frame.io.cartesian import CartesianTensor
from e3frame.spec.elements import ATOMIC_NUMBERS, SYMBOLS, require_elements
from e3frame.spec.errors import DataError, UserError
from e3frame.spec.quantities import QUANTITIES
from e3frame.spec.units import Units

RESULTS = ("energy", "energies", "forces", "stress", "dipole", "charges")
"""Outputs that ASE knows by name, in its forms; others become entries of ``info`` and ``arrays``."""


def predict(
    model: str | Path,
    files: Sequence[str | Path],
    out: str | Path,
    *,
    format: str | None = None,
    units: Units | None = None,
    batch_size: int = 64,
    device: Device = "cpu",
    plugins: Collection[str] = (),
    keys: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> int:
    """Write the frames of ``files`` with what the model predicts into an extended XYZ file.

    What the frames hold besides is kept; lengths are written in Å, energies in eV, forces in eV/Å, stresses in eV/Å^3.
    Tensors are Cartesian where they were trained so: matrices per frame, rows of components per atom. What the model
    gives per edge is written per frame, with the pairs of atoms under ``<name>_index`` and, of a periodic frame, the
    images under ``<name>_shift``, as ``data.edges`` reads them.

    Args:
        model: the file of a trained model.
        files: in any format that ASE reads.
        out: the file to write, in one step: nobody sees half of it.
        format: ASE's name of the format of ``files``; None: by name and content.
        units: of the lengths in ``files``.
        batch_size: frames at once.
        keys: input of the model: the key that holds it in the frames, where it has another name there.
        overwrite: replace ``out`` if it exists.

    Returns:
        The number of frames.

    Raises:
        UserError: ``out`` exists, or the model cannot be read.
        DataError: a frame cannot be read, lacks an input of the model, or holds an element that it does not know.
    """
    out = Path(out)
    require_new(out, overwrite)
    predictor = Predictor(model, device, plugins=plugins, keys=keys)
    frames = _frames([str(file) for file in files], format, units or Units())
    count = 0
    try:
        with rewritten(out) as handle, without_modes(predictor.device):
            while chunk := list(islice(frames, batch_size)):
                graphs = [predictor.graph(*frame) for frame in chunk]
                places = [(file, frame) for _, file, frame in chunk]
                each = zip(chunk, graphs, predictor.run(graphs, places), strict=True)
                write_extxyz(handle, [_with(atoms, graph, v, predictor) for (atoms, _, _), graph, v in each])
                count += len(chunk)
    except OSError as error:
        if error.filename not in (None, str(out)):
            raise DataError(f"cannot be read: {error.strerror}", file=os.fsdecode(error.filename)) from None
        raise UserError(f"{out} cannot be written: {error.strerror}") from None
    return count


class Predictor:
    """A saved model that takes atoms and gives NumPy arrays; the arguments of :func:`e3frame.load_model`.

    Args:
        keys: input of the model: the key of ``atoms.info`` that holds it, where it is not called so there. A
            ``total_charge`` is also looked for under ``charge``.

    Attributes:
        outputs: types of the model's outputs and of what follows from its energy.
        names: of these, and of the energies of the atoms.
        factors: what takes outputs from the units in which they were trained to eV, Å and e.

    Raises:
        UserError: the model reads no such input.
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
        self.summand = summand(typed, self.model)
        self.names = (*self.outputs, *(["energies"] if self.summand else []))
        derived = {name: layer.derives for name, layer in spec.outputs.items() if layer.derives is not None}
        self.stresses = [name for name, quantity in derived.items() if QUANTITIES[quantity].per_volume]
        self.trained = set(saved.spec.outputs)
        self.factors = factors(spec.outputs, saved.task)
        self.factors["energies"] = self.factors.get("energy", 1.0)
        self.cartesian = {name: CartesianTensor(f) for name, f in cartesian_outputs(spec, saved.task).items()}

    def graph(self, atoms: Atoms, file: str | None = None, frame: int | None = None) -> Graph:
        """The graph of ``atoms``.

        Raises:
            DataError: no atoms, an element that the model has not learned, an input that it lacks, or a cell that is
                none.
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
        """The outputs of each graph: (components,) per graph, (atoms, components) per node, and for a Cartesian tensor
        an axis of 3 for each index in place of the components. Energies are in eV, forces in eV/Å, and so on, in
        whatever unit they were trained; outputs of other names are in their own.

        A stress is left out where the cell has no volume, or is not periodic; one that was not trained also where it is
        not periodic in all directions.

        Args:
            places: file and frame of each graph, for messages.

        Raises:
            DataError: what the model gives is not finite.
        """
        batch = Batch.from_data_list(list(graphs)).to(self.device)
        fields = () if self.summand is None else (self.summand,)
        with torch.no_grad():
            outputs = self.model(model_input(batch, inputs=self.model.spec.inputs), fields)
            if self.summand is not None:
                pool = self.model.layers[self.outputs["energy"].key]
                outputs["energies"] = pool.of_nodes(outputs.pop(self.summand), self.model.species_index(batch.z))
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

    def _of_graph(self, name: str, array: NDArray, k: int, bounds: Mapping[str, Sequence[int]]) -> NDArray[np.float64]:
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


def _require_finite(values: Mapping[str, NDArray], place: tuple[str | None, int | None]) -> None:
    for name, value in values.items():
        if not np.isfinite(value).all():
            hint = "atoms that are much too close, or a number too large for the dtype of the model?"
            raise DataError(f"the model's {name} is not finite", file=place[0], frame=place[1], hint=hint)


def as_ase(name: str, value: NDArray[np.float64]) -> NDArray[np.float64] | float:
    """A result in the form in which ASE keeps it: a number, Voigt's six components (xx, yy, zz, yz, xz, xy), ..."""
    if name == "stress" and value.shape == (3, 3):
        return full_3x3_to_voigt_6_stress(value)
    if name in ("charges", "energies"):
        return value.reshape(-1)
    return value.item() if value.shape == (1,) else value


def _frames(files: Sequence[str], format: str | None, units: Units) -> Iterator[tuple[Atoms, str, int]]:
    for file in files:
        require_file(file)
        length = combined(units, stated_units(file, format), {}, file, ["length"]).length_factor()
        for frame, atoms in read_frames(file, format):
            yield checked(atoms, length, file, frame), file, frame


def edges_of(atoms: Atoms, graph: Graph) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """(e, 2) the atoms of each edge, the source first, and (e, 3) the images of the sources; None without a period."""
    index = graph.edge_index.numpy().T
    return index, images(graph.edge_shift.numpy(), atoms) if atoms.pbc.any() else None


def _with(atoms: Atoms, graph: Graph, values: Mapping[str, NDArray[np.float64]], predictor: Predictor) -> Atoms:
    """A copy of the frame that holds these values in place of any of the same name."""
    labelled = atoms.copy()
    results = {}
    for name, value in values.items():
        labelled.info.pop(name, None)
        labelled.arrays.pop(name, None)
        if name in RESULTS:
            results[name] = as_ase(name, value)
        elif predictor.outputs[name].domain == "node":
            labelled.arrays[name] = value.reshape(len(value), -1)
        elif predictor.outputs[name].domain == "graph":
            labelled.info[name] = as_ase(name, value)
        else:
            labelled.info[name] = value.reshape(-1) if value.shape[1:] == (1,) else value
            index, shift = edges_of(atoms, graph)
            labelled.info |= {f"{name}_index": index} | ({} if shift is None else {f"{name}_shift": shift})
    labelled.calc = SinglePointCalculator(labelled, **results)
    return labelled

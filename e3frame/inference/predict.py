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
from numpy.typing import NDArray
from torch_geometric.data import Batch

from e3frame.data.batch import model_input
from e3frame.data.frames import read_frames
from e3frame.data.graphs import Graph, make_graph
from e3frame.data.units import Units
from e3frame.inference.saved import Device, load_model
from e3frame.spec.elements import ATOMIC_NUMBERS, SYMBOLS
from e3frame.spec.errors import DataError, UserError

RESULTS = ("energy", "forces", "dipole")
"""Outputs that ASE knows by name; others become entries of ``info`` and ``arrays``."""


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
    overwrite: bool = False,
) -> int:
    """Write the frames of ``files`` with the model's energy and forces into an extended XYZ file.

    What the frames hold besides is kept; lengths are written in Å, energies in eV, forces in eV/Å.

    Args:
        model: the file of a trained model.
        files: in any format that ASE reads.
        out: the file to write, in one step: nobody sees half of it.
        format: ASE's name of the format of ``files``; None: by name and content.
        units: of the lengths in ``files``.
        batch_size: frames at once.
        overwrite: replace ``out`` if it exists.

    Returns:
        The number of frames.

    Raises:
        UserError: ``out`` exists, or the model cannot be read.
        DataError: a frame cannot be read, or holds an element that the model does not know.
    """
    out = Path(out)
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists already\n  choose another name, or overwrite it on purpose")
    predictor = Predictor(model, device, plugins=plugins)
    frames = _frames([str(file) for file in files], format, units or Units())
    part = out.with_name(f"{out.name}.{os.getpid()}.part")
    count = 0
    try:
        with part.open("w", encoding="utf-8") as handle:
            while chunk := list(islice(frames, batch_size)):
                values = predictor.run([predictor.graph(*frame) for frame in chunk])
                write_extxyz(handle, [_with(atoms, v) for (atoms, _, _), v in zip(chunk, values, strict=True)])
                count += len(chunk)
        os.replace(part, out)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    return count


class Predictor:
    """A saved model that takes atoms and gives NumPy arrays; the arguments of :func:`e3frame.load_model`."""

    def __init__(
        self, model: str | Path, device: Device = "cpu", dtype: str | None = None, plugins: Collection[str] = ()
    ) -> None:
        self.model, self.device = load_model(model, device, dtype, plugins), device
        self.per_graph = {name: o.domain == "graph" for name, o in self.model.spec.typed().outputs.items()}

    def graph(self, atoms: Atoms, file: str | None = None, frame: int | None = None) -> Graph:
        """The graph of ``atoms``.

        Raises:
            DataError: an element that the model has not learned, or a cell that is none.
        """
        species = self.model.spec.species
        unknown = sorted(set(atoms.numbers.tolist()) - {ATOMIC_NUMBERS[symbol] for symbol in species})
        if unknown:
            symbols = ", ".join(SYMBOLS[number] for number in unknown)
            hint = f"it knows {', '.join(species)}"
            raise DataError(f"the model does not know {symbols}", file=file, frame=frame, hint=hint)
        try:
            return make_graph(atoms, self.model.spec.r_max)
        except ValueError as error:
            raise DataError(str(error), file=file, frame=frame) from error

    def run(self, graphs: Sequence[Graph]) -> list[dict[str, NDArray[np.float64]]]:
        """The outputs of each graph: (components,) per graph, (atoms, components) per node."""
        batch = Batch.from_data_list(list(graphs)).to(self.device)
        with torch.no_grad():
            outputs = self.model(model_input(batch))
        arrays = {name: tensor.to("cpu", torch.float64).numpy() for name, tensor in outputs.items()}
        bounds = batch.ptr.tolist()
        return [
            {
                name: array[k] if self.per_graph[name] else array[bounds[k] : bounds[k + 1]]
                for name, array in arrays.items()
            }
            for k in range(len(graphs))
        ]


def _frames(files: Sequence[str], format: str | None, units: Units) -> Iterator[tuple[Atoms, str, int]]:
    for file in files:
        if not Path(file).exists():
            raise DataError("no such file", file=file)
        for frame, atoms in read_frames(file, format, units):
            yield atoms, file, frame


def _with(atoms: Atoms, values: Mapping[str, NDArray[np.float64]]) -> Atoms:
    """A copy of the frame that holds these values in place of any of the same name."""
    labelled = atoms.copy()
    results = {}
    for name, value in values.items():
        labelled.info.pop(name, None)
        labelled.arrays.pop(name, None)
        value = value.item() if value.shape == (1,) else value
        if name in RESULTS:
            results[name] = value
        elif np.ndim(value) == 2:
            labelled.arrays[name] = value
        else:
            labelled.info[name] = value
    labelled.calc = SinglePointCalculator(labelled, **results)
    return labelled
